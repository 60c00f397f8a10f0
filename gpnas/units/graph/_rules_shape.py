"""Rules of primitives that move axes and indices about, or make arrays out of nothing."""

import math
from collections.abc import Iterator
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from gpnas.units.graph._rule import (
    Free,
    Link,
    Product,
    Relation,
    Rule,
    Same,
    Shrinking,
    Zero,
    every,
    is_zero,
    left_of,
    linked_zero,
    take,
    take_of,
    whole_then_cut,
)
from gpnas.units.graph._rules_linear import spread
from gpnas.units.graph._trace import Program, Step, Value


def _transpose_links(step: Step) -> Iterator[Link]:
    yield from (Link(0, a, 0, j) for j, a in enumerate(step.params["permutation"]))


def _squeeze_links(step: Step) -> Iterator[Link]:
    n = len(step.ins[0].shape)
    gone = {d % n for d in step.params["dimensions"]}
    yield from (Link(0, a, 0, j) for j, a in enumerate(a for a in range(n) if a not in gone))


def _broadcast_links(step: Step) -> Iterator[Link]:
    (x, *_), (out,) = step.ins, step.outs
    for axis, j in enumerate(step.params["broadcast_dimensions"]):
        if x.shape[axis] == out.shape[j]:
            yield Link(0, axis, 0, j)


def _broadcast_more(step: Step, program: Program) -> Iterator[Relation]:
    (out,) = step.outs
    linked = {link.out_axis for link in _broadcast_links(step)}
    yield from (Free(out.nodes(a)) for a in range(len(out.shape)) if a not in linked)


def _broadcast_shrink(step: Step, args: list, to: Shrinking) -> Any:
    return step.bind(*args, **{**step.params, "shape": to.shape(step.outs[0])})


def _axis_factors(value: Value, factors: Value) -> Iterator[tuple[int, list[int]]]:
    """For each axis of more than one index, the factors it is made of."""
    shape, sizes = value.shape, factors.shape
    for axis, n in enumerate(shape):
        low = math.prod(shape[axis + 1 :])
        inner = [math.prod(sizes[f + 1 :]) for f in range(len(sizes))]
        own = [f for f in range(len(sizes)) if low <= inner[f] < low * n]
        if n > 1:
            yield axis, own


def _reshape_more(step: Step, program: Program) -> Iterator[Relation]:
    if step.factors is None or step.params.get("dimensions") is not None:
        return
    for value in (step.ins[0], step.outs[0]):
        for axis, own in _axis_factors(value, step.factors):
            nodes = [step.factors.nodes(f) for f in own]
            if len(own) == 1:
                yield Same(value.nodes(axis), nodes[0])
            else:
                yield Product(value.nodes(axis), spread(tuple(nodes)))


def _reshape_zero(step: Step, zero: Zero, program: Program) -> list[list[np.ndarray]]:
    """A factor's slice is zero where all of the axis it came from that it takes part in is."""
    (x, *_), (out,) = step.ins, step.outs
    result: list[np.ndarray] = [np.full(n, is_zero(x, program)) for n in out.shape]
    if step.factors is None:
        return [result]
    known: dict[int, np.ndarray] = {}
    for axis, own in _axis_factors(x, step.factors):
        whole = zero(x, axis).reshape([step.factors.shape[f] for f in own])
        for i, f in enumerate(own):
            others = tuple(j for j in range(len(own)) if j != i)
            known[f] = np.asarray(whole.all(axis=others))
    for axis, own in _axis_factors(out, step.factors):
        fixed = [known[f] | zero(step.factors, f) for f in own]
        result[axis] = np.asarray(np.stack(spread(tuple(fixed))).all(axis=0))
    return [result]


def _reshape_shrink(step: Step, args: list, to: Shrinking) -> Any:
    return step.bind(*args, **{**step.params, "new_sizes": to.shape(step.outs[0])})


def _rev_links(step: Step) -> Iterator[Link]:
    for axis, n in enumerate(step.ins[0].shape):
        flipped = axis in step.params["dimensions"]
        yield Link(0, axis, 0, axis, np.arange(n)[::-1] if flipped else None)


def _concatenate_links(step: Step) -> Iterator[Link]:
    along, start = step.params["dimension"], 0
    for i, x in enumerate(step.ins):
        for axis, n in enumerate(x.shape):
            at = np.arange(start, start + n) if axis == along else None
            yield Link(i, axis, 0, axis, None, at)
        start += x.shape[along]


def _concatenate_zero(step: Step, zero: Zero, program: Program) -> list[list[np.ndarray]]:
    along = step.params["dimension"]
    (result,) = linked_zero(every, _concatenate_links)(step, zero, program)
    result[along] = np.concatenate([zero(x, along) for x in step.ins])
    return [result]


def _sliced(step: Step) -> list[np.ndarray]:
    """Indices of the operand that are left on each axis."""
    p = step.params
    strides = p["strides"] or [1] * len(p["start_indices"])
    ends = zip(p["start_indices"], p["limit_indices"], strides, strict=True)
    return [np.arange(*end) for end in ends]


def _slice_links(step: Step) -> Iterator[Link]:
    yield from (Link(0, axis, 0, axis, at) for axis, at in enumerate(_sliced(step)))


def _slice_more(step: Step, program: Program) -> Iterator[Relation]:
    for axis, at in enumerate(_sliced(step)):
        yield Free(np.delete(step.ins[0].nodes(axis), at))


def _slice_shrink(step: Step, args: list, to: Shrinking) -> Any:
    (x,), (value,), (out,) = args, step.ins, step.outs
    for axis, at in enumerate(_sliced(step)):
        x = take_of(x, value, axis, at[left_of(out, axis, to)], to)
    return x


def _tile_links(step: Step) -> Iterator[Link]:
    for axis, (n, times) in enumerate(zip(step.ins[0].shape, step.params["reps"], strict=True)):
        if n > 1 or times == 1:
            yield Link(0, axis, 0, axis, np.tile(np.arange(n), times))


def _tile_more(step: Step, program: Program) -> Iterator[Relation]:
    (x,), (out,) = step.ins, step.outs
    for axis, times in enumerate(step.params["reps"]):
        if x.shape[axis] == 1 and times > 1:
            yield Free(out.nodes(axis))


def _tile_shrink(step: Step, args: list, to: Shrinking) -> Any:
    (x,), (out,) = step.ins, step.outs
    sizes = zip(to.shape(out), to.shape(x), step.params["reps"], strict=True)
    return step.bind(*args, reps=tuple(n // m if m else times for n, m, times in sizes))


def _stack_links(step: Step) -> Iterator[Link]:
    """The new axis is not linked: whether an operand is there does not change."""
    at = step.params["axis"]
    for i, x in enumerate(step.ins):
        yield from (Link(i, axis, 0, axis + (axis >= at)) for axis in range(len(x.shape)))


def _unstack_links(step: Step) -> Iterator[Link]:
    at = step.params["axis"]
    for o, out in enumerate(step.outs):
        yield from (Link(0, axis + (axis >= at), o, axis) for axis in range(len(out.shape)))


def _split_links(step: Step) -> Iterator[Link]:
    along, start = step.params["axis"], 0
    for o, out in enumerate(step.outs):
        for axis, n in enumerate(out.shape):
            at = np.arange(start, start + n) if axis == along else None
            yield Link(0, axis, o, axis, at)
        start += out.shape[along]


def _split_shrink(step: Step, args: list, to: Shrinking) -> Any:
    sizes = tuple(to.shape(out)[step.params["axis"]] for out in step.outs)
    return step.bind(*args, **{**step.params, "sizes": sizes})


def _padded(step: Step, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the operand that stay, and where they go."""
    low, _, inside = step.params["padding_config"][axis]
    at = np.arange(step.ins[0].shape[axis])
    to = low + at * (inside + 1)
    stays = (to >= 0) & (to < step.outs[0].shape[axis])
    return at[stays], to[stays]


def _pad_links(step: Step) -> Iterator[Link]:
    for axis in range(len(step.ins[0].shape)):
        yield Link(0, axis, 0, axis, *_padded(step, axis))


def _pad_more(step: Step, program: Program) -> Iterator[Relation]:
    for axis in range(len(step.ins[0].shape)):
        at, to = _padded(step, axis)
        yield Free(np.delete(step.ins[0].nodes(axis), at))
        yield Free(np.delete(step.outs[0].nodes(axis), to))


def _pad_zero(step: Step, zero: Zero, program: Program) -> list[list[np.ndarray]]:
    value, result = is_zero(step.ins[1], program), []
    shapes = zip(step.ins[0].shape, step.outs[0].shape, strict=True)
    grown = [len(_padded(step, axis)[0]) < n for axis, (_, n) in enumerate(shapes)]
    for axis, n in enumerate(step.outs[0].shape):
        at, to = _padded(step, axis)
        own = np.full(n, value)
        elsewhere = any(g for other, g in enumerate(grown) if other != axis)
        own[to] = zero(step.ins[0], axis)[at] & (value or not elsewhere)
        result.append(own)
    return [result]


def _pad_shrink(step: Step, args: list, to: Shrinking) -> Any:
    x, filler = args
    (value, _), (out,) = step.ins, step.outs
    config = list(step.params["padding_config"])
    for axis in range(len(out.shape)):
        left = to.cut(out, axis)
        if left is None and to.cut(value, axis) is None:
            continue
        config[axis] = (0, 0, 0)
        source = np.full(out.shape[axis], -1)
        at, goes = _padded(step, axis)
        source[goes] = at
        source = source[left_of(out, axis, to)]
        inside = np.searchsorted(left_of(value, axis, to), source)
        end = x.shape[axis]  # where one slice of padding is put, to be taken as often as needed
        x = lax.pad(x, filler, [(0, int(a == axis), 0) for a in range(x.ndim)])
        x = take(x, np.where(source < 0, end, inside), axis)
    return lax.pad(x, filler, config)


def _free(step: Step, program: Program) -> Iterator[Relation]:
    for out in step.outs:
        yield from (Free(out.nodes(axis)) for axis in range(len(out.shape)))


def _start(step: Step, program: Program, axis: int, first: int, size: int) -> int | None:
    """Where a dynamic slice begins on an axis, if that is known; `first` is its first index."""
    known = program.known.get(step.ins[first + axis].id)
    n = step.ins[0].shape[axis]
    if size == n:
        return 0
    return None if known is None else int(np.clip(int(known), 0, n - size))


def _starts(step: Step, program: Program, first: int, part: Value) -> list[int | None]:
    return [_start(step, program, axis, first, n) for axis, n in enumerate(part.shape)]


def _dynamic_slice_more(step: Step, program: Program) -> Iterator[Relation]:
    (x, *_), (out,) = step.ins, step.outs
    for axis, start in enumerate(_starts(step, program, 1, out)):
        if start is not None:
            at = np.arange(start, start + out.shape[axis])
            yield Same(x.nodes(axis)[at], out.nodes(axis))
            yield Free(np.delete(x.nodes(axis), at))


def _dynamic_slice_zero(step: Step, zero: Zero, program: Program) -> list[list[np.ndarray]]:
    (x, *_), (out,) = step.ins, step.outs
    result = []
    for axis, start in enumerate(_starts(step, program, 1, out)):
        n = out.shape[axis]
        own = zero(x, axis)
        result.append(np.full(n, own.all()) if start is None else own[start : start + n])
    return [result]


def _dynamic_slice_shrink(step: Step, args: list, to: Shrinking) -> Any:
    (value, *_), (out,) = step.ins, step.outs
    x, *indices = args
    for axis, start in enumerate(_starts(step, to.program, 1, out)):
        if start is not None:
            x = take_of(x, value, axis, start + left_of(out, axis, to), to)
            indices[axis] = jnp.zeros_like(indices[axis])
    return step.bind(x, *indices, **{**step.params, "slice_sizes": to.shape(out)})


def _update_more(step: Step, program: Program) -> Iterator[Relation]:
    (x, part, *_), (out,) = step.ins, step.outs
    for axis, start in enumerate(_starts(step, program, 2, part)):
        if start is not None:
            yield Same(x.nodes(axis), out.nodes(axis))
            yield Same(part.nodes(axis), out.nodes(axis)[start : start + part.shape[axis]])


def _update_zero(step: Step, zero: Zero, program: Program) -> list[list[np.ndarray]]:
    (x, part, *_), _ = step.ins, step.outs
    result = []
    for axis, start in enumerate(_starts(step, program, 2, part)):
        own = zero(x, axis).copy()
        if start is None:
            own &= zero(part, axis).all()
        else:
            own[start : start + part.shape[axis]] &= zero(part, axis)
        result.append(own)
    return [result]


def _update_shrink(step: Step, args: list, to: Shrinking) -> Any:
    (value, part, *_) = step.ins
    x, update, *indices = args
    for axis, start in enumerate(_starts(step, to.program, 2, part)):
        if start is not None:
            before = int(np.sum(left_of(value, axis, to) < start))
            indices[axis] = jnp.full_like(indices[axis], before)
    return step.bind(x, update, *indices, **step.params)


RULES = {
    "transpose": Rule(_transpose_links, zero=linked_zero(every, _transpose_links)),
    "squeeze": Rule(_squeeze_links, zero=linked_zero(every, _squeeze_links)),
    "broadcast_in_dim": Rule(
        _broadcast_links, _broadcast_more, linked_zero(every, _broadcast_links), _broadcast_shrink
    ),
    "reshape": Rule(more=_reshape_more, zero=_reshape_zero, shrink=_reshape_shrink),
    "rev": Rule(_rev_links, zero=linked_zero(every, _rev_links)),
    "concatenate": Rule(_concatenate_links, zero=_concatenate_zero),
    "slice": Rule(_slice_links, _slice_more, linked_zero(every, _slice_links), _slice_shrink),
    "split": Rule(_split_links, zero=linked_zero(every, _split_links), shrink=_split_shrink),
    "tile": Rule(_tile_links, _tile_more, linked_zero(every, _tile_links), _tile_shrink),
    "stack": Rule(_stack_links, zero=linked_zero(every, _stack_links)),
    "unstack": Rule(_unstack_links, zero=linked_zero(every, _unstack_links)),
    "pad": Rule(_pad_links, _pad_more, _pad_zero, _pad_shrink),
    "iota": Rule(more=_free, shrink=whole_then_cut),
    "random_bits": Rule(more=_free, shrink=whole_then_cut),
    "dynamic_slice": Rule(
        more=_dynamic_slice_more, zero=_dynamic_slice_zero, shrink=_dynamic_slice_shrink
    ),
    "dynamic_update_slice": Rule(more=_update_more, zero=_update_zero, shrink=_update_shrink),
}
