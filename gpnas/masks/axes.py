"""Axes of a weight: inputs, outputs, receptive field, and stacked layers.

The shape of a leaf does not show which axis is which. They follow from a convention by name, or
from a table by path glob, with `in_axis`, `out_axis` and `batch_axis` as in `jax.nn.initializers`::

    axes = {"layers/*": Axes(batch_axis=0), "*proj/kernel": Axes(in_axis=0, out_axis=(1, 2))}
    masks = init_masks(params, axes=axes)
    transform = unstacked(rigl, axes)
"""

import math
from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp

from gpnas.masks import tree

#: One axis, or several; negative numbers count from the last axis.
Axis = int | tuple[int, ...]


class Axes(NamedTuple):
    """Input, output and batch axes of a leaf; the others are its receptive field.

    Attributes:
      in_axis, out_axis: Axes of inputs and outputs, counted in the whole leaf. None: by convention,
        among the axes that are not `batch_axis`: (in, out) last, as in Linen and NNX; (out, in)
        first for a leaf `weight`, as in Equinox; (in, heads, size) for `query|key|value/kernel` and
        (heads, size, out) for `out/kernel` of three axes, as in Flax's attention.
      batch_axis: Axes along which separate layers are stacked, as `nn.scan` does.
    """

    in_axis: Axis | None = None
    out_axis: Axis | None = None
    batch_axis: Axis = ()


#: `{glob of paths: Axes}`; the first glob that matches a leaf's path applies.
AxesTable = Mapping[str, Axes]


class Sides(NamedTuple):
    """The axes of a leaf: non-negative, without repeats."""

    batch: tuple[int, ...]
    receptive: tuple[int, ...]
    ins: tuple[int, ...]
    outs: tuple[int, ...]


def sides(path: str, ndim: int, table: AxesTable | None = None) -> Sides:
    """Returns the role of each axis: from the first glob that matches the path, else by convention.

    Args:
      path: Path of the leaf.
      ndim: Number of axes of the leaf.
      table: `Axes` by path glob.

    Raises:
      ValueError: If an axis does not exist, or is given twice.
    """
    axes = tree.lookup(table or {}, path, Axes())
    batch = batch_axes(path, ndim, table)
    own = tuple(i for i in range(ndim) if i not in batch)
    ins, outs = _conventional(path, own)
    ins = ins if axes.in_axis is None else _axes(axes.in_axis, ndim)
    outs = outs if axes.out_axis is None else _axes(axes.out_axis, ndim)
    named = (*batch, *ins, *outs)
    _check_once(axes, path, ndim, named)
    return Sides(batch, tuple(i for i in own if i not in named), ins, outs)


def batch_axes(path: str, ndim: int, table: AxesTable | None = None) -> tuple[int, ...]:
    """Returns the non-negative axes along which layers are stacked; a scalar has none.

    Args:
      path, ndim, table: As for `sides`.

    Raises:
      ValueError: If an axis does not exist, or is given twice.
    """
    if not ndim:
        return ()
    axes = tree.lookup(table or {}, path, Axes())
    batch = _axes(axes.batch_axis, ndim)
    _check_once(axes, path, ndim, batch)
    return batch


def _check_once(axes: Axes, path: str, ndim: int, named: tuple[int, ...]) -> None:
    if len(set(named)) != len(named) or any(not 0 <= i < ndim for i in named):
        raise ValueError(f"axes: got {axes} for {path} of {ndim} axes, allowed: each axis once")


def _axes(axis: Axis, ndim: int) -> tuple[int, ...]:
    some = (axis,) if isinstance(axis, int) else axis
    return tuple(i + ndim if i < 0 else i for i in some)


def _conventional(path: str, own: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    if len(own) < 2:
        return (), own
    *_, layer, name = ("", *path.split("/"))
    if name == "weight":
        return (own[1],), (own[0],)
    if name == "kernel" and len(own) == 3 and layer in ("query", "key", "value"):
        return (own[0],), own[1:]
    if name == "kernel" and len(own) == 3 and layer == "out":
        return own[:2], (own[2],)
    return (own[-2],), (own[-1],)


def canonical(leaf: jax.Array, at: Sides) -> jax.Array:
    """Reshapes a leaf to (batch…, receptive…, in, out), merging several input or output axes."""
    moved = leaf.transpose(*at.batch, *at.receptive, *at.ins, *at.outs)
    outer = [leaf.shape[i] for i in (*at.batch, *at.receptive)]
    fan_in, fan_out = (math.prod(leaf.shape[i] for i in side) for side in (at.ins, at.outs))
    return moved.reshape(*outer, fan_in, fan_out)


def restored(leaf: jax.Array, at: Sides, shape: tuple[int, ...]) -> jax.Array:
    """Returns a leaf of `shape`; the inverse of `canonical`."""
    order = (*at.batch, *at.receptive, *at.ins, *at.outs)
    inverse = sorted(range(len(order)), key=order.__getitem__)
    return jnp.transpose(leaf.reshape([shape[i] for i in order]), inverse)


def layer_shape(
    path: str, shape: tuple[int, ...], table: AxesTable | None = None
) -> tuple[int, ...]:
    """Returns (receptive…, in, out), the shape of one layer of a leaf.

    Args:
      path, shape: Path and shape of the leaf.
      table: `Axes` by path glob.
    """
    at = sides(path, len(shape), table)
    fans = (math.prod(shape[i] for i in side) for side in (at.ins, at.outs))
    return (*(shape[i] for i in at.receptive), *fans)
