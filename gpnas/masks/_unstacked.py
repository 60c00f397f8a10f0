"""Separate masks for layers that are stacked along an axis of one leaf, as by `nn.scan`."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from gpnas.masks import tree
from gpnas.masks._transform import MaskContext, Masks, MaskTransform
from gpnas.masks.axes import AxesTable, batch_axes


def unstacked(transform: MaskTransform, axes: AxesTable) -> MaskTransform:
    """Applies a transform to stacked layers as separate leaves, each with its own density.

    The transform sees layer i of a leaf `layers/kernel` as `layers/i/kernel`; globs in `per_leaf`
    or `dense` match this path.

    Args:
      transform: The transform to wrap.
      axes: `Axes` by path glob; only `batch_axis` is used.

    Returns:
      A transform on the masks of the stacked params.
    """

    def split(like: Any, values: Any) -> dict[str, jax.Array]:
        found: dict[str, jax.Array] = {}
        each = zip(tree.leaves_by_path(like).items(), jax.tree.leaves(values), strict=True)
        for (name, mask), value in each:
            batch = batch_axes(name, jnp.ndim(mask), axes)
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
            batch = batch_axes(name, jnp.ndim(mask), axes)
            if not batch:
                return found[name]
            sizes = [mask.shape[i] for i in batch]
            rows = jnp.stack([found[_layer(name, i)] for i in range(math.prod(sizes))])
            return jnp.moveaxis(rows.reshape(*sizes, *rows.shape[1:]), range(len(batch)), batch)

        return jax.tree.map_with_path(leaf, like)

    def init_fn(masks: Masks, params: Any, key: jax.Array) -> tuple[Masks, Any]:
        tree.check_globs("axes", axes, tree.leaves_by_path(masks))
        inner, state = transform.init(split(masks, masks), split(masks, params), key)
        return join(masks, inner), state

    def update_fn(masks: Masks, state: Any, ctx: MaskContext) -> tuple[Masks, Any]:
        own = dataclasses.replace(
            ctx, params=split(masks, ctx.params), grads=split(masks, ctx.grads)
        )
        inner, state = transform.update(split(masks, masks), state, own)
        return join(masks, inner), state

    return transform._replace(init=init_fn, update=update_fn)


def _layer(name: str, i: int) -> str:
    owner, _, last = name.rpartition("/")
    return f"{owner}/{i}/{last}" if owner else f"{i}/{last}"
