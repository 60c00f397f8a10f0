"""Rules of products, convolutions, and of whatever sums or compares along axes."""

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
    Shrinking,
    Sum,
    Zero,
    every,
    linked_zero,
    some,
)
from gpnas.units.graph._trace import Program, Step


def _dot_links(step: Step) -> Iterator[Link]:
    (contracted, batch) = step.params["dimension_numbers"]
    for j, (a, b) in enumerate(zip(*batch, strict=True)):
        yield Link(0, a, 0, j)
        yield Link(1, b, 0, j)
    at = len(batch[0])
    for source in (0, 1):
        for axis in range(len(step.ins[source].shape)):
            if axis not in contracted[source] and axis not in batch[source]:
                yield Link(source, axis, 0, at)
                at += 1


def _dot_more(step: Step, program: Program) -> Iterator[Relation]:
    contracted, batch = step.params["dimension_numbers"]
    lhs, rhs = step.ins
    for a, b in zip(*contracted, strict=True):
        yield Same(lhs.nodes(a), rhs.nodes(b))
        yield Sum(lhs.nodes(a), (lhs.nodes(a), rhs.nodes(b)))
    (out,) = step.outs
    for axis in range(len(batch[0]), len(out.shape)):
        yield Made(out.nodes(axis))


def _passes(step: Step, i: int) -> bool:
    """Whether a convolution leaves its i-th spatial axis as it is."""
    params, kernel = step.params, step.params["dimension_numbers"].rhs_spec
    return (
        step.ins[1].shape[kernel[2 + i]] == 1
        and params["window_strides"][i] == 1
        and tuple(params["padding"][i]) == (0, 0)
        and params["lhs_dilation"][i] == 1
    )


def _conv_links(step: Step) -> Iterator[Link]:
    if step.params["batch_group_count"] != 1:
        return
    lhs, kernel, out = step.params["dimension_numbers"]
    yield Link(0, lhs[0], 0, out[0])
    yield Link(1, kernel[0], 0, out[1])
    for i in range(len(lhs) - 2):
        if _passes(step, i):
            yield Link(0, lhs[2 + i], 0, out[2 + i])


def _conv_more(step: Step, program: Program) -> Iterator[Relation]:
    if step.params["batch_group_count"] != 1:
        return
    lhs, kernel, out = step.params["dimension_numbers"]
    x, w = step.ins
    channels, rows = x.nodes(lhs[1]), w.nodes(kernel[1])
    yield Made(step.outs[0].nodes(out[1]))
    if step.params["feature_group_count"] == 1:
        yield Same(channels, rows)
        yield Sum(rows, (rows, channels))
        return
    assert step.factors is not None
    group, inside, outside = (step.factors.nodes(axis) for axis in range(3))
    yield Product(channels, spread((group, inside)))
    yield Product(w.nodes(kernel[0]), spread((group, outside)))
    yield Same(rows, inside)
    yield Sum(rows, (rows,))


def spread(factors: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
    """Nodes of factors, one each for every index of the axis that they make, first factor outer."""
    grids = np.meshgrid(*factors, indexing="ij")
    return tuple(grid.reshape(-1) for grid in grids)


def _conv_shrink(step: Step, args: list, to: Shrinking) -> Any:
    assert step.factors is not None
    groups = to.shape(step.factors)[0]
    return step.bind(*args, **{**step.params, "feature_group_count": groups})


def _kept(step: Step, axes: tuple[int, ...]) -> Iterator[Link]:
    """The operand's axes but for some that vanish."""
    left = [axis for axis in range(len(step.ins[0].shape)) if axis not in axes]
    for i, _ in enumerate(step.outs):
        for j, axis in enumerate(left):
            yield Link(0, axis, i, j)


def _reduce_links(step: Step) -> Iterator[Link]:
    return _kept(step, tuple(step.params["axes"]))


def _sum_more(step: Step, program: Program) -> Iterator[Relation]:
    for axis in step.params["axes"]:
        nodes = step.ins[0].nodes(axis)
        yield Sum(nodes, (nodes,))


def _along_links(step: Step) -> Iterator[Link]:
    """Operands and results of one shape, but for one axis along which they are put in order."""
    at = step.params.get("axis", step.params.get("dimension", -1)) % len(step.ins[0].shape)
    for o, out in enumerate(step.outs):
        for i, x in enumerate(step.ins):
            if len(x.shape) == len(out.shape):
                yield from (Link(i, a, o, a) for a in range(len(x.shape)) if a != at)


def _cumsum_links(step: Step) -> Iterator[Link]:
    yield from (Link(0, axis, 0, axis) for axis in range(len(step.ins[0].shape)))


def _cumsum_more(step: Step, program: Program) -> Iterator[Relation]:
    nodes = step.ins[0].nodes(step.params["axis"])
    yield Sum(nodes, (nodes,))


def _cumsum_zero(step: Step, zero: Zero, program: Program) -> list[list[np.ndarray]]:
    (out,) = step.outs
    at = step.params["axis"]
    return [[zero(step.ins[0], axis) & (axis != at) for axis in range(len(out.shape))]]


def _window_links(step: Step) -> Iterator[Link]:
    params = step.params
    for axis in range(len(params["window_dimensions"])):
        plain = (
            params["window_dimensions"][axis] == 1
            and params["window_strides"][axis] == 1
            and tuple(params["padding"][axis]) == (0, 0)
            and params["base_dilation"][axis] == 1
        )
        if plain:
            yield Link(0, axis, 0, axis)


def _window_max_zero(step: Step, zero: Zero, program: Program) -> list[list[np.ndarray]]:
    """Padding of a maximum is minus infinity, so a window of it alone would not be zero."""
    padded = any(tuple(pad) != (0, 0) for pad in step.params["padding"])
    found = linked_zero(every, _window_links)(step, zero, program)
    return [[axis & (not padded) for axis in axes] for axes in found]


_reduced_zero = linked_zero(every, _reduce_links)

RULES = {
    "dot_general": Rule(_dot_links, _dot_more, linked_zero(some, _dot_links)),
    "conv_general_dilated": Rule(
        _conv_links, _conv_more, linked_zero(some, _conv_links), _conv_shrink
    ),
    "reduce_sum": Rule(_reduce_links, _sum_more, _reduced_zero),
    **{
        name: Rule(_reduce_links, zero=_reduced_zero)
        for name in ("reduce_max", "reduce_min", "reduce_prod", "reduce_or", "reduce_and")
    },
    **{name: Rule(_reduce_links) for name in ("argmax", "argmin", "reduce_xor")},
    "cumsum": Rule(_cumsum_links, _cumsum_more, _cumsum_zero),
    **{
        name: Rule(_along_links)
        for name in ("cumprod", "cummax", "cummin", "cumlogsumexp", "sort", "top_k")
    },
    "reduce_window_sum": Rule(_window_links, zero=linked_zero(every, _window_links)),
    "reduce_window_max": Rule(_window_links, zero=_window_max_zero),
    "reduce_window_min": Rule(_window_links, zero=_window_max_zero),
    "reduce_window": Rule(_window_links),
}
