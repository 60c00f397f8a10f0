"""Products and convolutions as functions of their widths, for measuring latencies."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from gpnas.units.graph import Op, Value

_KEY_PARAMS = {
    "dot_general": ("dimension_numbers",),
    "conv_general_dilated": (
        "window_strides", "padding", "lhs_dilation", "rhs_dilation", "dimension_numbers",
        "batch_group_count",
    ),
}  # fmt: skip
AxisOf = Callable[[np.ndarray], tuple[int | None, int]]


class TimedLayer(NamedTuple):
    """A product or convolution with free widths.

    Attributes:
      key: One-line description, the same for equal layers of different networks.
      repeats: Number of executions of the layer.
      axes: Axes of the `CostModel` that are its free widths.
      widths: Full lengths of these axes.
      build: `widths → (function, shapes of its operands)`.
      blocks: Axes of the blocks that the layer needs to be executed.
    """

    key: str
    repeats: int
    axes: tuple[int, ...]
    widths: tuple[int, ...]
    build: Callable[[Sequence[int]], tuple[Callable[..., Any], list[tuple[int, ...]]]]
    blocks: tuple[int, ...] = ()


def _plain(param: Any) -> Any:
    return tuple(param) if isinstance(param, tuple) else param


class _Dims(NamedTuple):
    """Independent dimensions of a layer's operands.

    Attributes:
      nodes: Nodes of each dimension, (n,) int64.
      operands: For each axis of each operand, the dimensions whose product it is.
      groups: The dimension that is the number of groups of a convolution.
    """

    nodes: list[np.ndarray]
    operands: list[list[tuple[int, ...]]]
    groups: int | None


def make_layer(op: Op, repeats: int, axis_of: AxisOf) -> TimedLayer:
    """Converts a product or a convolution.

    Args:
      op: The primitive.
      repeats: Number of executions.
      axis_of: `nodes of an axis → (number of the axis, or None if it has no units; its length)`.
    """
    dims = _dims(op)
    looked_up = [axis_of(nodes) for nodes in dims.nodes]
    axes = tuple(dict.fromkeys(a for a, _ in looked_up if a is not None))
    widths = tuple(next(n for b, n in looked_up if a == b) for a in axes)

    def put(free: Sequence[Any]) -> list[Any]:
        return [n if a is None else free[axes.index(a)] for a, n in looked_up]

    def build(free: Sequence[int]) -> tuple[Callable[..., Any], list[tuple[int, ...]]]:
        sizes = put(free)
        own = {} if dims.groups is None else {"feature_group_count": sizes[dims.groups]}
        shapes = [
            tuple(math.prod(sizes[d] for d in axis) for axis in each) for each in dims.operands
        ]
        return lambda *args: op.bind(*args, **{**op.params, **own}), shapes

    letters = [chr(ord("a") + i) for i in range(len(axes))]
    names = put(letters)
    shapes = [
        " ".join("·".join(str(names[d]) for d in axis if names[d] != 1) or "1" for axis in each)
        for each in dims.operands
    ]
    details = [f"{a}≤{n}" for a, n in zip(letters, widths, strict=True)]
    details += [f"{name}={_plain(op.params[name])}" for name in _KEY_PARAMS[op.name]]
    key = f"{op.name} ({'; '.join(shapes)}) {', '.join(details)}"
    return TimedLayer(key, repeats, axes, widths, build)


def _dims(op: Op) -> _Dims:
    nodes: list[np.ndarray] = []

    def new(of: np.ndarray) -> int:
        nodes.append(of)
        return len(nodes) - 1

    def axes(value: Value, known: Mapping[int, tuple[int, ...]]) -> list[tuple[int, ...]]:
        every = range(len(value.shape))
        return [known[axis] if axis in known else (new(value.nodes(axis)),) for axis in every]

    x, w = op.ins
    if op.name == "dot_general" or op.factors is None:
        return _Dims(nodes, [axes(x, {}), axes(w, {})], None)
    lhs, kernel, _ = op.params["dimension_numbers"]
    group, inside = new(op.factors.nodes(0)), new(w.nodes(kernel[1]))
    outside = new(w.nodes(kernel[0]) if op.factors.shape[0] == 1 else op.factors.nodes(2))
    channels = axes(x, {lhs[1]: (group, inside)})
    weights = axes(w, {kernel[1]: (inside,), kernel[0]: (group, outside)})
    return _Dims(nodes, [channels, weights], group)
