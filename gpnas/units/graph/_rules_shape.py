"""Rules of primitives that permute, merge, split, slice or pad axes, or create arrays."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from jax import lax

from gpnas.units.graph._rule import (
    Free,
    Link,
    Product,
    Relation,
    Rule,
    Same,
    ShrinkContext,
    Zero,
    all_zero,
    compute_then_cut,
    is_zero,
    kept_indices,
    linked,
    linked_zero,
    take,
    take_kept,
)
from gpnas.units.graph._rules_linear import expand_factors
from gpnas.units.graph._trace import Graph, Op, Value


def _transpose_links(op: Op) -> Iterator[Link]:
    yield from (Link(0, a, 0, j) for j, a in enumerate(op.params["permutation"]))


def _squeeze_links(op: Op) -> Iterator[Link]:
    n = len(op.ins[0].shape)
    gone = {d % n for d in op.params["dimensions"]}
    yield from (Link(0, a, 0, j) for j, a in enumerate(a for a in range(n) if a not in gone))


def _broadcast_links(op: Op) -> Iterator[Link]:
    (x, *_), (out,) = op.ins, op.outs
    for axis, j in enumerate(op.params["broadcast_dimensions"]):
        if x.shape[axis] == out.shape[j]:
            yield Link(0, axis, 0, j)


def _broadcast_relations(op: Op, graph: Graph) -> Iterator[Relation]:
    (out,) = op.outs
    linked = {link.out_axis for link in _broadcast_links(op)}
    yield from (Free(out.nodes(a)) for a in range(len(out.shape)) if a not in linked)


def _shape_as(param: str) -> Callable[[Op, list, ShrinkContext], Any]:
    """Makes a rule's `shrink` for primitives with the shape of the result as a parameter."""
    return lambda op, args, to: op.bind(*args, **{**op.params, param: to.shape(op.outs[0])})


def _axis_factors(value: Value, factors: Value) -> Iterator[tuple[int, list[int]]]:
    """Yields each axis with more than one index, and the factors whose product it is."""
    shape, sizes = value.shape, factors.shape
    for axis, n in enumerate(shape):
        low = math.prod(shape[axis + 1 :])
        inner = [math.prod(sizes[f + 1 :]) for f in range(len(sizes))]
        own = [f for f in range(len(sizes)) if low <= inner[f] < low * n]
        if n > 1:
            yield axis, own


def _reshape_relations(op: Op, graph: Graph) -> Iterator[Relation]:
    if op.factors is None or op.params.get("dimensions") is not None:
        return
    for value in (op.ins[0], op.outs[0]):
        for axis, own in _axis_factors(value, op.factors):
            nodes = [op.factors.nodes(f) for f in own]
            if len(own) == 1:
                yield Same(value.nodes(axis), nodes[0])
            else:
                yield Product(value.nodes(axis), expand_factors(tuple(nodes)))


def _reshape_zero(op: Op, zero: Zero, graph: Graph) -> list[list[np.ndarray]]:
    """A slice of a factor is zero where all its indices of the operand are."""
    (x, *_), (out,) = op.ins, op.outs
    result: list[np.ndarray] = [np.full(n, is_zero(x, graph)) for n in out.shape]
    if op.factors is None:
        return [result]
    known: dict[int, np.ndarray] = {}
    for axis, own in _axis_factors(x, op.factors):
        whole = zero(x, axis).reshape([op.factors.shape[f] for f in own])
        for i, f in enumerate(own):
            others = tuple(j for j in range(len(own)) if j != i)
            known[f] = np.asarray(whole.all(axis=others))
    for axis, own in _axis_factors(out, op.factors):
        fixed = [known[f] | zero(op.factors, f) for f in own]
        result[axis] = np.asarray(np.stack(expand_factors(tuple(fixed))).all(axis=0))
    return [result]


def _rev_links(op: Op) -> Iterator[Link]:
    for axis, n in enumerate(op.ins[0].shape):
        flipped = axis in op.params["dimensions"]
        yield Link(0, axis, 0, axis, np.arange(n)[::-1] if flipped else None)


def _places(parts: tuple[Value, ...], along: int) -> Iterator[tuple[int, int, np.ndarray | None]]:
    """Yields (part, axis, indices in the whole or None for all) of concatenated arrays."""
    start = 0
    for i, x in enumerate(parts):
        for axis, n in enumerate(x.shape):
            yield i, axis, np.arange(start, start + n) if axis == along else None
        start += x.shape[along]


def _concatenate_links(op: Op) -> Iterator[Link]:
    for i, axis, at in _places(op.ins, op.params["dimension"]):
        yield Link(i, axis, 0, axis, None, at)


def _concatenate_zero(op: Op, zero: Zero, graph: Graph) -> list[list[np.ndarray]]:
    along = op.params["dimension"]
    (result,) = linked_zero(all_zero, _concatenate_links)(op, zero, graph)
    result[along] = np.concatenate([zero(x, along) for x in op.ins])
    return [result]


def _sliced(op: Op) -> list[np.ndarray]:
    """Returns the indices of the operand that are kept along each axis."""
    p = op.params
    strides = p["strides"] or [1] * len(p["start_indices"])
    ends = zip(p["start_indices"], p["limit_indices"], strides, strict=True)
    return [np.arange(*end) for end in ends]


def _slice_links(op: Op) -> Iterator[Link]:
    yield from (Link(0, axis, 0, axis, at) for axis, at in enumerate(_sliced(op)))


def _slice_relations(op: Op, graph: Graph) -> Iterator[Relation]:
    for axis, at in enumerate(_sliced(op)):
        yield Free(np.delete(op.ins[0].nodes(axis), at))


def _slice_shrink(op: Op, args: list, to: ShrinkContext) -> Any:
    (x,), (value,), (out,) = args, op.ins, op.outs
    for axis, at in enumerate(_sliced(op)):
        x = take_kept(x, value, axis, at[kept_indices(out, axis, to)], to)
    return x


def _tile_links(op: Op) -> Iterator[Link]:
    for axis, (n, times) in enumerate(zip(op.ins[0].shape, op.params["reps"], strict=True)):
        if n > 1 or times == 1:
            yield Link(0, axis, 0, axis, np.tile(np.arange(n), times))


def _tile_relations(op: Op, graph: Graph) -> Iterator[Relation]:
    (x,), (out,) = op.ins, op.outs
    for axis, times in enumerate(op.params["reps"]):
        if x.shape[axis] == 1 and times > 1:
            yield Free(out.nodes(axis))


def _tile_shrink(op: Op, args: list, to: ShrinkContext) -> Any:
    (x,), (out,) = op.ins, op.outs
    sizes = zip(to.shape(out), to.shape(x), op.params["reps"], strict=True)
    return op.bind(*args, reps=tuple(n // m if m else times for n, m, times in sizes))


def _stack_links(op: Op) -> Iterator[Link]:
    """Yields links of all axes except the new one, which is fixed."""
    at = op.params["axis"]
    for i, x in enumerate(op.ins):
        yield from (Link(i, axis, 0, axis + (axis >= at)) for axis in range(len(x.shape)))


def _unstack_links(op: Op) -> Iterator[Link]:
    turned = _stack_links(op._replace(ins=op.outs))
    yield from (Link(0, link.out_axis, link.source, link.axis) for link in turned)


def _split_links(op: Op) -> Iterator[Link]:
    for o, axis, at in _places(op.outs, op.params["axis"]):
        yield Link(0, axis, o, axis, at)


def _split_shrink(op: Op, args: list, to: ShrinkContext) -> Any:
    sizes = tuple(to.shape(out)[op.params["axis"]] for out in op.outs)
    return op.bind(*args, **{**op.params, "sizes": sizes})


def _padded(op: Op, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns (kept indices of the operand, their positions in the result)."""
    low, _, inside = op.params["padding_config"][axis]
    at = np.arange(op.ins[0].shape[axis])
    to = low + at * (inside + 1)
    stays = (to >= 0) & (to < op.outs[0].shape[axis])
    return at[stays], to[stays]


def _pad_links(op: Op) -> Iterator[Link]:
    for axis in range(len(op.ins[0].shape)):
        yield Link(0, axis, 0, axis, *_padded(op, axis))


def _pad_relations(op: Op, graph: Graph) -> Iterator[Relation]:
    for axis in range(len(op.ins[0].shape)):
        at, to = _padded(op, axis)
        yield Free(np.delete(op.ins[0].nodes(axis), at))
        yield Free(np.delete(op.outs[0].nodes(axis), to))


def _pad_zero(op: Op, zero: Zero, graph: Graph) -> list[list[np.ndarray]]:
    value, result = is_zero(op.ins[1], graph), []
    shapes = zip(op.ins[0].shape, op.outs[0].shape, strict=True)
    grown = [len(_padded(op, axis)[0]) < n for axis, (_, n) in enumerate(shapes)]
    for axis, n in enumerate(op.outs[0].shape):
        at, to = _padded(op, axis)
        own = np.full(n, value)
        elsewhere = any(g for other, g in enumerate(grown) if other != axis)
        own[to] = zero(op.ins[0], axis)[at] & (value or not elsewhere)
        result.append(own)
    return [result]


def _pad_shrink(op: Op, args: list, to: ShrinkContext) -> Any:
    x, filler = args
    (value, _), (out,) = op.ins, op.outs
    config = list(op.params["padding_config"])
    for axis in range(len(out.shape)):
        left = to.cut(out, axis)
        if left is None and to.cut(value, axis) is None:
            continue
        config[axis] = (0, 0, 0)
        source = np.full(out.shape[axis], -1)
        at, goes = _padded(op, axis)
        source[goes] = at
        source = source[kept_indices(out, axis, to)]
        inside = np.searchsorted(kept_indices(value, axis, to), source)
        end = x.shape[axis]  # position of an added slice of padding, which is taken repeatedly
        x = lax.pad(x, filler, [(0, int(a == axis), 0) for a in range(x.ndim)])
        x = take(x, np.where(source < 0, end, inside), axis)
    return lax.pad(x, filler, config)


def _free(op: Op, graph: Graph) -> Iterator[Relation]:
    for out in op.outs:
        yield from (Free(out.nodes(axis)) for axis in range(len(out.shape)))


RULES = {
    "transpose": linked(_transpose_links),
    "squeeze": linked(_squeeze_links),
    "broadcast_in_dim": linked(
        _broadcast_links, relations=_broadcast_relations, shrink=_shape_as("shape")
    ),
    "reshape": Rule(
        relations=_reshape_relations, zero=_reshape_zero, shrink=_shape_as("new_sizes")
    ),
    "rev": linked(_rev_links),
    "concatenate": Rule(_concatenate_links, zero=_concatenate_zero),
    "slice": linked(_slice_links, relations=_slice_relations, shrink=_slice_shrink),
    "split": linked(_split_links, shrink=_split_shrink),
    "tile": linked(_tile_links, relations=_tile_relations, shrink=_tile_shrink),
    "stack": linked(_stack_links),
    "unstack": linked(_unstack_links),
    "pad": Rule(_pad_links, _pad_relations, _pad_zero, _pad_shrink),
    "iota": Rule(relations=_free, shrink=compute_then_cut),
    "random_bits": Rule(relations=_free, shrink=compute_then_cut),
}
