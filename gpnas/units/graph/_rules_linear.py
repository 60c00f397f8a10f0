"""Rules of matrix products, convolutions, reductions, cumulative operations and sorts."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from gpnas.units.graph._rule import (
    Link,
    Made,
    Product,
    Relation,
    Rule,
    Same,
    ShrinkContext,
    Sum,
    Zero,
    all_zero,
    any_zero,
    linked,
    linked_zero,
    same_axes,
)
from gpnas.units.graph._trace import Graph, Op


def _dot_links(op: Op) -> Iterator[Link]:
    (contracted, batch) = op.params["dimension_numbers"]
    for j, (a, b) in enumerate(zip(*batch, strict=True)):
        yield Link(0, a, 0, j)
        yield Link(1, b, 0, j)
    at = len(batch[0])
    for source in (0, 1):
        for axis in range(len(op.ins[source].shape)):
            if axis not in contracted[source] and axis not in batch[source]:
                yield Link(source, axis, 0, at)
                at += 1


def _dot_relations(op: Op, graph: Graph) -> Iterator[Relation]:
    contracted, batch = op.params["dimension_numbers"]
    lhs, rhs = op.ins
    for a, b in zip(*contracted, strict=True):
        yield Same(lhs.nodes(a), rhs.nodes(b))
        yield Sum(lhs.nodes(a), (lhs.nodes(a), rhs.nodes(b)))
    (out,) = op.outs
    for axis in range(len(batch[0]), len(out.shape)):
        yield Made(out.nodes(axis))


def _passes(op: Op, i: int, window: int, dilation: str) -> bool:
    """Returns whether a convolution or pooling is pointwise along its i-th axis."""
    return window == op.params["window_strides"][i] == op.params[dilation][i] == 1 and tuple(
        op.params["padding"][i]
    ) == (0, 0)


def _conv_links(op: Op) -> Iterator[Link]:
    if op.params["batch_group_count"] != 1:
        return
    lhs, kernel, out = op.params["dimension_numbers"]
    yield Link(0, lhs[0], 0, out[0])
    yield Link(1, kernel[0], 0, out[1])
    for i in range(len(lhs) - 2):
        if _passes(op, i, op.ins[1].shape[kernel[2 + i]], "lhs_dilation"):
            yield Link(0, lhs[2 + i], 0, out[2 + i])


def _conv_relations(op: Op, graph: Graph) -> Iterator[Relation]:
    if op.params["batch_group_count"] != 1:
        return
    lhs, kernel, out = op.params["dimension_numbers"]
    x, w = op.ins
    channels, rows = x.nodes(lhs[1]), w.nodes(kernel[1])
    yield Made(op.outs[0].nodes(out[1]))
    if op.params["feature_group_count"] == 1:
        yield Same(channels, rows)
        yield Sum(rows, (rows, channels))
        return
    assert op.factors is not None
    group, inside, outside = (op.factors.nodes(axis) for axis in range(3))
    yield Product(channels, expand_factors((group, inside)))
    yield Product(w.nodes(kernel[0]), expand_factors((group, outside)))
    yield Same(rows, inside)
    yield Sum(rows, (rows,))


def expand_factors(factors: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
    """Returns each factor's nodes for every index of their product, the first factor outermost."""
    grids = np.meshgrid(*factors, indexing="ij")
    return tuple(grid.reshape(-1) for grid in grids)


def _conv_shrink(op: Op, args: list, to: ShrinkContext) -> Any:
    assert op.factors is not None
    groups = to.shape(op.factors)[0]
    return op.bind(*args, **{**op.params, "feature_group_count": groups})


def _kept(op: Op, axes: tuple[int, ...]) -> Iterator[Link]:
    """Yields links of all axes of the operand except `axes`, which the result lacks."""
    left = [axis for axis in range(len(op.ins[0].shape)) if axis not in axes]
    for i, _ in enumerate(op.outs):
        for j, axis in enumerate(left):
            yield Link(0, axis, i, j)


def _reduce_links(op: Op) -> Iterator[Link]:
    return _kept(op, tuple(op.params["axes"]))


def _sum_relations(op: Op, graph: Graph) -> Iterator[Relation]:
    for axis in op.params["axes"]:
        nodes = op.ins[0].nodes(axis)
        yield Sum(nodes, (nodes,))


def _along_links(op: Op) -> Iterator[Link]:
    """Yields links of all axes except the one that the primitive sorts or accumulates along."""
    at = op.params.get("axis", op.params.get("dimension", -1)) % len(op.ins[0].shape)
    for o, out in enumerate(op.outs):
        for i, x in enumerate(op.ins):
            if len(x.shape) == len(out.shape):
                yield from (Link(i, a, o, a) for a in range(len(x.shape)) if a != at)


def _cumsum_relations(op: Op, graph: Graph) -> Iterator[Relation]:
    nodes = op.ins[0].nodes(op.params["axis"])
    yield Sum(nodes, (nodes,))


def _cumsum_zero(op: Op, zero: Zero, graph: Graph) -> list[list[np.ndarray]]:
    (out,) = op.outs
    at = op.params["axis"]
    return [[zero(op.ins[0], axis) & (axis != at) for axis in range(len(out.shape))]]


def _window_links(op: Op) -> Iterator[Link]:
    for axis, window in enumerate(op.params["window_dimensions"]):
        if _passes(op, axis, window, "base_dilation"):
            yield Link(0, axis, 0, axis)


def _window_max_zero(op: Op, zero: Zero, graph: Graph) -> list[list[np.ndarray]]:
    """Padding of a maximum is -inf, so a window of padding only is not zero."""
    padded = any(tuple(pad) != (0, 0) for pad in op.params["padding"])
    found = linked_zero(all_zero, _window_links)(op, zero, graph)
    return [[axis & (not padded) for axis in axes] for axes in found]


RULES = {
    "dot_general": linked(_dot_links, any_zero, relations=_dot_relations),
    "conv_general_dilated": linked(
        _conv_links, any_zero, relations=_conv_relations, shrink=_conv_shrink
    ),
    "reduce_sum": linked(_reduce_links, relations=_sum_relations),
    **{
        name: linked(_reduce_links)
        for name in ("reduce_max", "reduce_min", "reduce_prod", "reduce_or", "reduce_and")
    },
    **{name: Rule(_reduce_links) for name in ("argmax", "argmin", "reduce_xor")},
    "cumsum": Rule(same_axes, _cumsum_relations, _cumsum_zero),
    **{
        name: Rule(_along_links)
        for name in ("cumprod", "cummax", "cummin", "cumlogsumexp", "sort", "top_k")
    },
    "reduce_window_sum": linked(_window_links),
    "reduce_window_max": Rule(_window_links, zero=_window_max_zero),
    "reduce_window_min": Rule(_window_links, zero=_window_max_zero),
    "reduce_window": Rule(_window_links),
}
