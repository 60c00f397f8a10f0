"""Rules of gather, scatter and dynamic slices: embeddings, indexing, `x.at[…].set`."""

from collections.abc import Iterator
from typing import Any

import jax.numpy as jnp
import numpy as np

from gpnas.units.graph._rule import (
    Free,
    Link,
    Made,
    Relation,
    Rule,
    Same,
    ShrinkContext,
    Zero,
    kept_indices,
    take_kept,
)
from gpnas.units.graph._trace import Graph, Op, Value


def _windows(op: Op) -> Iterator[tuple[int, int]]:
    """Yields (operand axis, result axis) of fully gathered axes."""
    d, sizes = op.params["dimension_numbers"], op.params["slice_sizes"]
    for axis, out_axis in _kept_axes(op, d.collapsed_slice_dims, d.offset_dims):
        if sizes[axis] == op.ins[0].shape[axis] and axis not in d.start_index_map:
            yield axis, out_axis


def _kept_axes(op: Op, dropped: tuple, others: tuple) -> Iterator[tuple[int, int]]:
    """Pairs the operand's axes, without dropped and batching ones, with other axes."""
    single = {*dropped, *op.params["dimension_numbers"].operand_batching_dims}
    windows = [axis for axis in range(len(op.ins[0].shape)) if axis not in single]
    return zip(windows, others, strict=True)


def _gather_links(op: Op) -> Iterator[Link]:
    d = op.params["dimension_numbers"]
    yield from (Link(0, axis, 0, out_axis) for axis, out_axis in _windows(op))
    batch = [axis for axis in range(len(op.outs[0].shape)) if axis not in d.offset_dims]
    for axis, out_axis in enumerate(batch):  # the indices' last axis holds the index
        yield Link(1, axis, 0, out_axis)
        if axis in d.start_indices_batching_dims:
            own = d.operand_batching_dims[d.start_indices_batching_dims.index(axis)]
            yield Link(0, own, 0, out_axis)


def _chosen(op: Op, graph: Graph) -> tuple[int, int, np.ndarray] | None:
    """Returns (operand axis, result axis, indices) of a gather of known indices along one axis."""
    d, indices = op.params["dimension_numbers"], graph.known.get(op.ins[1].id)
    if indices is None or indices.ndim != 2 or len(d.start_index_map) != 1:
        return None
    (axis,) = d.start_index_map
    n = op.ins[0].shape[axis]
    inside = np.all((indices >= 0) & (indices < n))
    if axis not in d.collapsed_slice_dims or d.operand_batching_dims or not inside:
        return None
    (out_axis,) = [a for a in range(len(op.outs[0].shape)) if a not in d.offset_dims]
    return axis, out_axis, indices[:, 0].astype(int)


def _gather_relations(op: Op, graph: Graph) -> Iterator[Relation]:
    x, (out,) = op.ins[0], op.outs
    yield from (Made(out.nodes(out_axis)) for _, out_axis in _windows(op))
    if (chosen := _chosen(op, graph)) is not None:
        axis, out_axis, at = chosen
        yield Same(x.nodes(axis)[at], out.nodes(out_axis))
        yield Free(np.delete(x.nodes(axis), np.unique(at)))


def _gather_zero(op: Op, zero: Zero, graph: Graph) -> list[list[np.ndarray]]:
    x, (out,) = op.ins[0], op.outs
    result = [np.zeros(n, bool) for n in out.shape]
    for axis, out_axis in _windows(op):
        result[out_axis] = zero(x, axis)
    if (chosen := _chosen(op, graph)) is not None:
        axis, out_axis, at = chosen
        result[out_axis] = zero(x, axis)[at]
    return [result]


def _gather_shrink(op: Op, args: list, to: ShrinkContext) -> Any:
    x, indices = args
    value, (out,) = op.ins[0], op.outs
    chosen = _chosen(op, to.graph)
    if chosen is not None:
        axis, out_axis, at = chosen
        if to.cut(value, axis) is not None or to.cut(out, out_axis) is not None:
            return jnp.moveaxis(
                take_kept(x, value, axis, at[kept_indices(out, out_axis, to)], to), axis, out_axis
            )
    sizes = list(op.params["slice_sizes"])
    for axis, _ in _windows(op):
        sizes[axis] = x.shape[axis]
    return op.bind(x, indices, **{**op.params, "slice_sizes": tuple(sizes)})


def _scatter_windows(op: Op) -> Iterator[tuple[int, int]]:
    """Yields (operand axis, updates axis) of fully written axes."""
    d = op.params["dimension_numbers"]
    for axis, update_axis in _kept_axes(op, d.inserted_window_dims, d.update_window_dims):
        whole = op.ins[2].shape[update_axis] == op.ins[0].shape[axis]
        if whole and axis not in d.scatter_dims_to_operand_dims:
            yield axis, update_axis


def _scatter_links(op: Op) -> Iterator[Link]:
    for axis, update_axis in _scatter_windows(op):
        yield Link(0, axis, 0, axis)
        yield Link(2, update_axis, 0, axis)


def _scatter_zero(op: Op, zero: Zero, graph: Graph) -> list[list[np.ndarray]]:
    result = [np.zeros(n, bool) for n in op.outs[0].shape]
    for axis, update_axis in _scatter_windows(op):
        result[axis] = zero(op.ins[0], axis) & zero(op.ins[2], update_axis)
    return [result]


def _start(op: Op, graph: Graph, axis: int, first: int, size: int) -> int | None:
    """Returns the start of a dynamic slice along an axis if it is known, else None.

    Args:
      op, graph: The primitive and its graph.
      axis: An axis of the operand.
      first: Number of the operand that is the first start index.
      size: Size of the slice along the axis.
    """
    known = graph.known.get(op.ins[first + axis].id)
    n = op.ins[0].shape[axis]
    if size == n:
        return 0
    return None if known is None else int(np.clip(int(known), 0, n - size))


def _starts(op: Op, graph: Graph, first: int, part: Value) -> list[int | None]:
    return [_start(op, graph, axis, first, n) for axis, n in enumerate(part.shape)]


def _dynamic_slice_relations(op: Op, graph: Graph) -> Iterator[Relation]:
    (x, *_), (out,) = op.ins, op.outs
    for axis, start in enumerate(_starts(op, graph, 1, out)):
        if start is not None:
            at = np.arange(start, start + out.shape[axis])
            yield Same(x.nodes(axis)[at], out.nodes(axis))
            yield Free(np.delete(x.nodes(axis), at))


def _dynamic_slice_zero(op: Op, zero: Zero, graph: Graph) -> list[list[np.ndarray]]:
    (x, *_), (out,) = op.ins, op.outs
    result = []
    for axis, start in enumerate(_starts(op, graph, 1, out)):
        n = out.shape[axis]
        own = zero(x, axis)
        result.append(np.full(n, own.all()) if start is None else own[start : start + n])
    return [result]


def _dynamic_slice_shrink(op: Op, args: list, to: ShrinkContext) -> Any:
    (value, *_), (out,) = op.ins, op.outs
    x, *indices = args
    for axis, start in enumerate(_starts(op, to.graph, 1, out)):
        if start is not None:
            x = take_kept(x, value, axis, start + kept_indices(out, axis, to), to)
            indices[axis] = jnp.zeros_like(indices[axis])
    return op.bind(x, *indices, **{**op.params, "slice_sizes": to.shape(out)})


def _update_relations(op: Op, graph: Graph) -> Iterator[Relation]:
    (x, part, *_), (out,) = op.ins, op.outs
    for axis, start in enumerate(_starts(op, graph, 2, part)):
        if start is not None:
            yield Same(x.nodes(axis), out.nodes(axis))
            yield Same(part.nodes(axis), out.nodes(axis)[start : start + part.shape[axis]])


def _update_zero(op: Op, zero: Zero, graph: Graph) -> list[list[np.ndarray]]:
    (x, part, *_), _ = op.ins, op.outs
    result = []
    for axis, start in enumerate(_starts(op, graph, 2, part)):
        own = zero(x, axis).copy()
        if start is None:
            own &= zero(part, axis).all()
        else:
            own[start : start + part.shape[axis]] &= zero(part, axis)
        result.append(own)
    return [result]


def _update_shrink(op: Op, args: list, to: ShrinkContext) -> Any:
    (value, part, *_) = op.ins
    x, update, *indices = args
    for axis, start in enumerate(_starts(op, to.graph, 2, part)):
        if start is not None:
            before = int(np.sum(kept_indices(value, axis, to) < start))
            indices[axis] = jnp.full_like(indices[axis], before)
    return op.bind(x, update, *indices, **op.params)


_PUT = Rule(_scatter_links, zero=_scatter_zero)
_COMBINED = Rule(_scatter_links)

RULES = {
    "gather": Rule(_gather_links, _gather_relations, _gather_zero, _gather_shrink),
    **dict.fromkeys(("scatter", "scatter-add"), _PUT),
    **dict.fromkeys(("scatter-sub", "scatter-mul", "scatter-min", "scatter-max"), _COMBINED),
    "dynamic_slice": Rule(
        relations=_dynamic_slice_relations, zero=_dynamic_slice_zero, shrink=_dynamic_slice_shrink
    ),
    "dynamic_update_slice": Rule(
        relations=_update_relations, zero=_update_zero, shrink=_update_shrink
    ),
}
