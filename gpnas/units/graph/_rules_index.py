"""Rules of gather and scatter: embeddings, look-ups, `x.at[…].set`."""

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
    Shrinking,
    Zero,
    left_of,
    take_of,
)
from gpnas.units.graph._trace import Program, Step


def _windows(step: Step) -> Iterator[tuple[int, int]]:
    """(operand axis, result axis) of the axes that are looked up in one piece."""
    d = step.params["dimension_numbers"]
    single = {*d.collapsed_slice_dims, *d.operand_batching_dims}
    windows = [axis for axis in range(len(step.ins[0].shape)) if axis not in single]
    for axis, out_axis in zip(windows, d.offset_dims, strict=True):
        whole = step.params["slice_sizes"][axis] == step.ins[0].shape[axis]
        if whole and axis not in d.start_index_map:
            yield axis, out_axis


def _gather_links(step: Step) -> Iterator[Link]:
    d = step.params["dimension_numbers"]
    yield from (Link(0, axis, 0, out_axis) for axis, out_axis in _windows(step))
    batch = [axis for axis in range(len(step.outs[0].shape)) if axis not in d.offset_dims]
    for axis, out_axis in enumerate(batch):  # the indices' last axis holds the index
        yield Link(1, axis, 0, out_axis)
        if axis in d.start_indices_batching_dims:
            own = d.operand_batching_dims[d.start_indices_batching_dims.index(axis)]
            yield Link(0, own, 0, out_axis)


def _chosen(step: Step, program: Program) -> tuple[int, int, np.ndarray] | None:
    """(operand axis, result axis, indices) if known indices are picked along one axis only."""
    d, indices = step.params["dimension_numbers"], program.known.get(step.ins[1].id)
    if indices is None or indices.ndim != 2 or len(d.start_index_map) != 1:
        return None
    (axis,) = d.start_index_map
    n = step.ins[0].shape[axis]
    inside = np.all((indices >= 0) & (indices < n))
    if axis not in d.collapsed_slice_dims or d.operand_batching_dims or not inside:
        return None
    (out_axis,) = [a for a in range(len(step.outs[0].shape)) if a not in d.offset_dims]
    return axis, out_axis, indices[:, 0].astype(int)


def _gather_more(step: Step, program: Program) -> Iterator[Relation]:
    x, (out,) = step.ins[0], step.outs
    yield from (Made(out.nodes(out_axis)) for _, out_axis in _windows(step))
    if (chosen := _chosen(step, program)) is not None:
        axis, out_axis, at = chosen
        yield Same(x.nodes(axis)[at], out.nodes(out_axis))
        yield Free(np.delete(x.nodes(axis), np.unique(at)))


def _gather_zero(step: Step, zero: Zero, program: Program) -> list[list[np.ndarray]]:
    x, (out,) = step.ins[0], step.outs
    result = [np.zeros(n, bool) for n in out.shape]
    for axis, out_axis in _windows(step):
        result[out_axis] = zero(x, axis)
    if (chosen := _chosen(step, program)) is not None:
        axis, out_axis, at = chosen
        result[out_axis] = zero(x, axis)[at]
    return [result]


def _gather_shrink(step: Step, args: list, to: Shrinking) -> Any:
    x, indices = args
    value, (out,) = step.ins[0], step.outs
    chosen = _chosen(step, to.program)
    if chosen is not None:
        axis, out_axis, at = chosen
        if to.cut(value, axis) is not None or to.cut(out, out_axis) is not None:
            return jnp.moveaxis(
                take_of(x, value, axis, at[left_of(out, out_axis, to)], to), axis, out_axis
            )
    sizes = list(step.params["slice_sizes"])
    for axis, _ in _windows(step):
        sizes[axis] = x.shape[axis]
    return step.bind(x, indices, **{**step.params, "slice_sizes": tuple(sizes)})


def _scatter_windows(step: Step) -> Iterator[tuple[int, int]]:
    """(operand axis, updates axis) of the axes that are written in one piece."""
    d = step.params["dimension_numbers"]
    single = {*d.inserted_window_dims, *d.operand_batching_dims}
    windows = [axis for axis in range(len(step.ins[0].shape)) if axis not in single]
    for axis, update_axis in zip(windows, d.update_window_dims, strict=True):
        whole = step.ins[2].shape[update_axis] == step.ins[0].shape[axis]
        if whole and axis not in d.scatter_dims_to_operand_dims:
            yield axis, update_axis


def _scatter_links(step: Step) -> Iterator[Link]:
    for axis, update_axis in _scatter_windows(step):
        yield Link(0, axis, 0, axis)
        yield Link(2, update_axis, 0, axis)


def _scatter_zero(step: Step, zero: Zero, program: Program) -> list[list[np.ndarray]]:
    result = [np.zeros(n, bool) for n in step.outs[0].shape]
    for axis, update_axis in _scatter_windows(step):
        result[axis] = zero(step.ins[0], axis) & zero(step.ins[2], update_axis)
    return [result]


_PUT = Rule(_scatter_links, zero=_scatter_zero)
_COMBINED = Rule(_scatter_links)

RULES = {
    "gather": Rule(_gather_links, _gather_more, _gather_zero, _gather_shrink),
    **dict.fromkeys(("scatter", "scatter-add"), _PUT),
    **dict.fromkeys(("scatter-sub", "scatter-mul", "scatter-min", "scatter-max"), _COMBINED),
}
