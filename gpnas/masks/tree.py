"""Paths and leaves: which entries of a parameter pytree may be masked, and where they are."""

import fnmatch
import re
import zlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import jax
import jax.numpy as jnp

Tree = Any
Value = TypeVar("Value")
Leaves = dict[str, jax.Array]
Filter = str | Callable[[str, jax.Array], bool]


def is_weight(path: str, leaf: jax.Array) -> bool:
    """True for floating leaves of two or more axes: kernels and embeddings, not biases, scales."""
    del path
    return leaf.ndim >= 2 and jnp.issubdtype(leaf.dtype, jnp.floating)


def matcher(where: Filter) -> Callable[[str, jax.Array], bool]:
    """Turns a path filter into a predicate `(path, leaf) → bool`.

    Args:
      where: A glob over whole paths (`"Dense_0/*"`, `"*kernel"`), or already a predicate.
    """
    if isinstance(where, str):
        return lambda path, leaf: fnmatch.fnmatchcase(path, where)
    return where


def lookup(table: Mapping[str, Value], path: str, default: Value) -> Value:
    """The value of the first path glob in `table` that matches `path`, else `default`."""
    return next(
        (value for glob, value in table.items() if fnmatch.fnmatchcase(path, glob)), default
    )


def path_name(path: tuple) -> str:
    """`('Dense_0', 'kernel')` as jax gives it, as `"Dense_0/kernel"`."""
    return jax.tree_util.keystr(path, simple=True, separator="/")


def natural_order(path: str) -> list:
    """Sort key in which `Dense_2` comes before `Dense_10`."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", path)]


def full(params: Tree, where: Filter = is_weight) -> Tree:
    """Masks in which everything lives.

    Args:
      params: Any parameter pytree.
      where: Which leaves may be masked: a predicate `(path, leaf) → bool` or a glob over paths.

    Returns:
      A pytree of `params`' structure, bool: all True of the leaf's shape where the leaf may be
      masked, and a scalar True where it may not.
    """
    matches = matcher(where)

    def leaf_mask(path: tuple, leaf: jax.Array) -> jax.Array:
        return jnp.ones(leaf.shape if matches(path_name(path), leaf) else (), bool)

    return jax.tree.map_with_path(leaf_mask, params)


def maskable(masks: Tree, tree: Tree | None = None) -> Leaves:
    """The leaves of `tree` (default: of `masks`) that may be masked, by path, in natural order.

    Args:
      masks: Masks as `full` makes them; a scalar mask marks a leaf that is left alone.
      tree: A pytree of the same structure.

    Returns:
      `{path: leaf}`. A dict of arrays is itself a pytree: all scores and selections work on it.
    """
    flat = jax.tree_util.tree_flatten_with_path(masks)[0]
    leaves = jax.tree.leaves(masks if tree is None else tree)
    found = {path_name(p): x for (p, m), x in zip(flat, leaves, strict=True) if jnp.ndim(m)}
    return {path: found[path] for path in sorted(found, key=natural_order)}


def put(masks: Tree, leaves: Leaves) -> Tree:
    """Masks with some of their leaves replaced: the inverse of `maskable`.

    Args:
      masks: Masks as `full` makes them.
      leaves: `{path: bool array}` for the leaves to replace.
    """
    return jax.tree.map_with_path(lambda path, mask: leaves.get(path_name(path), mask), masks)


def apply(masks: Tree, params: Tree) -> Tree:
    """Zeroes what is masked, by selection: `0 · nan` would be nan.

    Args:
      masks: Masks, bool.
      params: A pytree of the same structure (params, gradients or updates).

    Returns:
      `params` with zeros where the mask is False; shapes and dtypes unchanged.
    """

    def leaf(mask: jax.Array, param: jax.Array) -> jax.Array:
        return jnp.where(mask, param, jnp.zeros((), param.dtype)) if jnp.ndim(mask) else param

    return jax.tree.map(leaf, masks, params)


def total(leaves: Iterable[jax.Array]) -> jax.Array:
    """() int32, how many elements of some bool arrays are True; may be traced.

    Summed in float32 where that is exact, whatever the order: twice as fast on a CPU.
    """

    def one(leaf: jax.Array) -> jax.Array:
        exact = leaf.size <= 2**24
        return jnp.sum(leaf, dtype=jnp.float32 if exact else jnp.int32).astype(jnp.int32)

    return sum((one(leaf) for leaf in leaves), jnp.int32(0))


def keys_for(key: jax.Array, leaves: Leaves) -> dict[str, jax.Array]:
    """One random key a leaf, by the path's CRC-32: adding a layer leaves the others' keys alone."""
    return {path: jax.random.fold_in(key, zlib.crc32(path.encode())) for path in leaves}
