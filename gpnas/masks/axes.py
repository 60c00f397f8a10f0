"""Axes of a weight: inputs, outputs, receptive field, and layers that are stacked in one leaf.

Shapes alone cannot tell them apart, so there is a convention by name and a table by path glob, with
`in_axis`, `out_axis` and `batch_axis` as in `jax.nn.initializers`::

    axes = {"layers/*": Axes(batch_axis=0), "*proj/kernel": Axes(in_axis=0, out_axis=(1, 2))}
    masks = full(params, axes=axes)
    transform = unstacked(rigl, axes)
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gpnas.masks import tree
from gpnas.masks.transform import MaskContext, Masks, MaskTransform

Axis = int | tuple[int, ...]


class Axes(NamedTuple):
    """Which axes of a leaf are what; all the others are its receptive field.

    Attributes:
      in_axis, out_axis: Axes of inputs and outputs, of the whole leaf. None: by convention, on the
        axes that are not `batch_axis`: (in, out) last, as Linen and NNX have them; (out, in) first
        for a leaf `weight`, as Equinox; (in, heads, size) for `query|key|value/kernel` and (heads,
        size, out) for `out/kernel` of three axes, as Flax's attention.
      batch_axis: Axes along which separate layers are stacked, as `nn.scan` does.
    """

    in_axis: Axis | None = None
    out_axis: Axis | None = None
    batch_axis: Axis = ()


Table = Mapping[str, Axes]


class Sides(NamedTuple):
    """The axes of a leaf, non-negative, each once."""

    batch: tuple[int, ...]
    receptive: tuple[int, ...]
    ins: tuple[int, ...]
    outs: tuple[int, ...]


def sides(path: str, ndim: int, table: Table | None = None) -> Sides:
    """What each axis of a leaf is, by the first glob that matches its path, else by convention.

    Raises:
      ValueError: If an axis is not there, or is named twice.
    """
    axes = tree.lookup(table or {}, path, Axes())
    batch = _axes(axes.batch_axis, ndim)
    own = tuple(i for i in range(ndim) if i not in batch)
    ins, outs = _conventional(path, own)
    ins = ins if axes.in_axis is None else _axes(axes.in_axis, ndim)
    outs = outs if axes.out_axis is None else _axes(axes.out_axis, ndim)
    named = (*batch, *ins, *outs)
    if len(set(named)) != len(named) or any(not 0 <= i < ndim for i in named):
        raise ValueError(f"axes: got {axes} for {path} of {ndim} axes, allowed: each axis once")
    return Sides(batch, tuple(i for i in own if i not in named), ins, outs)


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
    """A leaf as (batch…, receptive…, in, out), each of the last two in one axis."""
    moved = jnp.transpose(leaf, (*at.batch, *at.receptive, *at.ins, *at.outs))
    outer = [leaf.shape[i] for i in (*at.batch, *at.receptive)]
    fan_in, fan_out = (math.prod(leaf.shape[i] for i in side) for side in (at.ins, at.outs))
    return moved.reshape(*outer, fan_in, fan_out)


def restored(leaf: jax.Array, at: Sides, shape: tuple[int, ...]) -> jax.Array:
    """The inverse of `canonical`, for a leaf of `shape`."""
    order = (*at.batch, *at.receptive, *at.ins, *at.outs)
    inverse = sorted(range(len(order)), key=order.__getitem__)
    return jnp.transpose(leaf.reshape([shape[i] for i in order]), inverse)


def layer_shape(path: str, shape: tuple[int, ...], table: Table | None = None) -> tuple[int, ...]:
    """(receptive…, in, out) of one layer of a leaf."""
    at = sides(path, len(shape), table)
    fans = (math.prod(shape[i] for i in side) for side in (at.ins, at.outs))
    return (*(shape[i] for i in at.receptive), *fans)


def unstacked(transform: MaskTransform, axes: Table) -> MaskTransform:
    """Shows a transform stacked layers one by one, so that each has a density of its own.

    Layer i of a leaf `layers/kernel` is `layers/i/kernel` inside, in `per_leaf` or `dense`, too.

    Args:
      transform: The transform to wrap.
      axes: `Axes` by path glob; their `batch_axis` counts.

    Returns:
      A transform on the masks of the stacked params.
    """

    def split(like: Any, values: Any) -> dict[str, jax.Array]:
        flat = jax.tree_util.tree_flatten_with_path(like)[0]
        found: dict[str, jax.Array] = {}
        for (path, mask), value in zip(flat, jax.tree.leaves(values), strict=True):
            name = tree.path_name(path)
            batch = sides(name, jnp.ndim(mask), axes).batch if jnp.ndim(mask) else ()
            if not batch:
                found[name] = value
                continue
            rows = jnp.moveaxis(value, batch, range(len(batch)))
            rows = rows.reshape(-1, *rows.shape[len(batch) :])
            found |= {_layer(name, i): rows[i] for i in range(len(rows))}
        return found

    def join(like: Masks, found: Mapping[str, jax.Array]) -> Masks:
        def leaf(path: tuple, mask: jax.Array) -> jax.Array:
            name = tree.path_name(path)
            batch = sides(name, jnp.ndim(mask), axes).batch if jnp.ndim(mask) else ()
            if not batch:
                return found[name]
            sizes = [mask.shape[i] for i in batch]
            rows = jnp.stack([found[_layer(name, i)] for i in range(math.prod(sizes))])
            return jnp.moveaxis(rows.reshape(*sizes, *rows.shape[1:]), range(len(batch)), batch)

        return jax.tree.map_with_path(leaf, like)

    def init_fn(masks: Masks, params: Any, key: jax.Array) -> tuple[Masks, Any]:
        flat = jax.tree_util.tree_flatten_with_path(masks)[0]
        tree.check_globs("axes", axes, [tree.path_name(path) for path, _ in flat])
        inner, state = transform.init(split(masks, masks), split(masks, params), key)
        return join(masks, inner), state

    def update_fn(masks: Masks, state: Any, ctx: MaskContext) -> tuple[Masks, Any]:
        own = dataclasses.replace(
            ctx, params=split(masks, ctx.params), grads=split(masks, ctx.grads)
        )
        inner, state = transform.update(split(masks, masks), state, own)
        return join(masks, inner), state

    return MaskTransform(init_fn, update_fn, transform.may_change)


def _layer(name: str, i: int) -> str:
    owner, _, last = name.rpartition("/")
    return f"{owner}/{i}/{last}" if owner else f"{i}/{last}"
