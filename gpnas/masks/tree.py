"""Paths and leaves: which entries of a parameter pytree may be masked, and where they are."""

import difflib
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
    return jnp.ndim(leaf) >= 2 and jnp.issubdtype(leaf.dtype, jnp.floating)


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


def globs_of(table: Iterable[str]) -> list[str]:
    """The keys of a table that are globs; plain names may be of leaves that are absent."""
    return [key for key in table if set(key) & set("*?[")]


def check_globs(field: str, globs: Iterable[str], paths: Iterable[str]) -> None:
    """Makes sure that each glob matches a path.

    Raises:
      ValueError: For the first that matches none; it lists paths that look like it.
    """
    paths = list(paths)
    for glob in globs:
        if not fnmatch.filter(paths, glob):
            near = difflib.get_close_matches(glob, paths, 3, 0.3) or paths[:3]
            raise ValueError(
                f"{field}: got {glob!r}, allowed: a glob that matches a leaf, such as "
                + ", ".join(near)
            )


def path_name(path: tuple) -> str:
    """`('Dense_0', 'kernel')` as jax gives it, as `"Dense_0/kernel"`; in NNX's states, too.

    The attribute `value` in which NNX's variables hold their arrays is left out.
    """
    if len(path) > 1 and path[-1] == jax.tree_util.GetAttrKey("value"):
        path = path[:-1]
    return jax.tree_util.keystr(path, simple=True, separator="/")


def natural_order(path: str) -> list:
    """Sort key in which `Dense_2` comes before `Dense_10`."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", path)]


def full(params: Tree, where: Filter = is_weight, axes: Mapping[str, Any] | None = None) -> Tree:
    """Masks in which everything lives.

    Args:
      params: Any parameter pytree.
      where: Which leaves may be masked: a predicate `(path, leaf) → bool` or a glob over paths.
      axes: `Axes` by path glob; `where` sees one layer of stacked ones, so that their biases count
        as biases.

    Returns:
      A pytree of `params`' structure, bool: all True of the leaf's shape where the leaf may be
      masked, and a scalar True where it may not.

    Raises:
      ValueError: If a leaf is no array or number, or a glob matches none.
    """
    matches = matcher(where)
    paths = [path_name(path) for path, _ in jax.tree_util.tree_flatten_with_path(params)[0]]
    check_globs("full", [where] if isinstance(where, str) else [], paths)
    check_globs("axes", axes or {}, paths)

    def leaf_mask(path: tuple, leaf: jax.Array) -> jax.Array:
        name = path_name(path)
        if not isinstance(leaf, bool | int | float | complex) and not hasattr(leaf, "dtype"):
            raise ValueError(
                f"full: got {type(leaf).__name__} at {name}, allowed: arrays;"
                " of an Equinox module, eqx.filter(module, eqx.is_array)"
            )
        if not jnp.ndim(leaf):
            return jnp.ones((), bool)
        shape = list(leaf.shape)
        spec = lookup(axes or {}, name, None)
        batch = spec.batch_axis if spec else ()
        for i in sorted({i % leaf.ndim for i in ((batch,) if isinstance(batch, int) else batch)}):
            shape[i] = -1
        one: Any = jax.ShapeDtypeStruct([n for n in shape if n >= 0], leaf.dtype)
        return jnp.ones(leaf.shape if matches(name, one if batch != () else leaf) else (), bool)

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


def wide(x: jax.Array) -> jax.Array:
    """In float32 at least: float16 has no square of 1e-4, nor of 300."""
    return x if x.dtype.itemsize >= 4 else x.astype(jnp.float32)


def keys_for(key: jax.Array, leaves: Leaves) -> dict[str, jax.Array]:
    """One random key a leaf, by the path's CRC-32: adding a layer leaves the others' keys alone."""
    return {path: jax.random.fold_in(key, zlib.crc32(path.encode())) for path in leaves}
