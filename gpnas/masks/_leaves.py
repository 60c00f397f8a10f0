"""Masks of a parameter pytree: create, flatten by path, update, apply."""

from typing import Any

import jax
import jax.numpy as jnp

from gpnas.masks.axes import AxesTable, batch_axes
from gpnas.masks.tree import (
    Filter,
    Leaves,
    check_globs,
    leaves_by_path,
    matcher,
    natural_order,
    path_name,
)

#: Any pytree.
Tree = Any


def is_weight(path: str, leaf: jax.Array) -> bool:
    """Returns True for floating leaves of two or more axes: kernels, embeddings; not biases."""
    del path
    return jnp.ndim(leaf) >= 2 and jnp.issubdtype(leaf.dtype, jnp.floating)


def decay_mask(params: Tree, axes: AxesTable | None = None) -> Tree:
    """Returns which leaves are weights, for `optax.add_decayed_weights(mask=decay_mask)`.

    Args:
      params: Parameters.
      axes: `Axes` by path glob; as for `init_masks`, stacked biases count as biases.

    Returns:
      A pytree of the structure of `params`, one bool per leaf: `is_weight`.
    """

    def of_leaf(path: tuple, leaf: jax.Array) -> bool:
        name = path_name(path)
        return is_weight(name, _one_layer(name, leaf, axes))

    return jax.tree.map_with_path(of_leaf, params)


def _one_layer(path: str, leaf: jax.Array, axes: AxesTable | None) -> Any:
    """Returns the leaf, or the shape of one of its layers if these are stacked."""
    batch = batch_axes(path, jnp.ndim(leaf), axes)
    shape = [n for i, n in enumerate(jnp.shape(leaf)) if i not in batch]
    return jax.ShapeDtypeStruct(shape, leaf.dtype) if batch else leaf


def init_masks(params: Tree, where: Filter = is_weight, axes: AxesTable | None = None) -> Tree:
    """Creates masks in which every weight is active.

    Args:
      params: Any parameter pytree.
      where: Which leaves may be masked: a predicate `(path, leaf) → bool` or a glob over paths.
      axes: `Axes` by path glob. Where layers are stacked, `where` gets the shape of one layer, so
        that stacked biases count as biases.

    Returns:
      A bool pytree of the structure of `params`: True of the leaf's shape where a leaf may be
      masked, a scalar True where it may not.

    Raises:
      ValueError: If a leaf is not an array or a number, two leaves have the same path, a glob
        matches no leaf, or a leaf lacks a batch axis.
    """
    matches = matcher(where)
    paths = list(leaves_by_path(params))
    check_globs("init_masks", [where] if isinstance(where, str) else [], paths)
    check_globs("axes", axes or {}, paths)

    def leaf_mask(path: tuple, leaf: jax.Array) -> jax.Array:
        name = path_name(path)
        if not isinstance(leaf, bool | int | float | complex) and not hasattr(leaf, "dtype"):
            raise ValueError(
                f"init_masks: got {type(leaf).__name__} at {name}, allowed: arrays;"
                " of an Equinox module, eqx.filter(module, eqx.is_array)"
            )
        if not jnp.ndim(leaf):
            return jnp.ones((), bool)
        return jnp.ones(leaf.shape if matches(name, _one_layer(name, leaf, axes)) else (), bool)

    return jax.tree.map_with_path(leaf_mask, params)


def masked_leaves(masks: Tree, tree: Tree | None = None) -> Leaves:
    """Returns the masked leaves of `tree` (default: of `masks`) by path, in natural order.

    Args:
      masks: Masks as `init_masks` makes them; a scalar mask marks a leaf that is not masked.
      tree: A pytree of the same structure.

    Returns:
      `{path: leaf}`. The dict is a pytree itself, so scores and selections accept it.
    """
    leaves = jax.tree.leaves(masks if tree is None else tree)
    each = zip(leaves_by_path(masks).items(), leaves, strict=True)
    found = {path: leaf for (path, mask), leaf in each if jnp.ndim(mask)}
    return {path: found[path] for path in sorted(found, key=natural_order)}


def update_leaves(masks: Tree, leaves: Leaves) -> Tree:
    """Replaces leaves of masks; the inverse of `masked_leaves`.

    Args:
      masks: Masks as `init_masks` makes them.
      leaves: `{path: bool array}` for the leaves to replace; other paths are ignored.
    """
    return jax.tree.map_with_path(lambda path, mask: leaves.get(path_name(path), mask), masks)


def apply(masks: Tree, params: Tree) -> Tree:
    """Sets inactive entries to zero by selection, so that NaN entries become zero, too.

    Args:
      masks: Masks, bool.
      params: A pytree of the same structure (params, gradients or updates).

    Returns:
      `params` with zeros where the mask is False; shapes and dtypes unchanged.
    """

    def leaf(mask: jax.Array, param: jax.Array) -> jax.Array:
        return jnp.where(mask, param, jnp.zeros((), param.dtype)) if jnp.ndim(mask) else param

    return jax.tree.map(leaf, masks, params)
