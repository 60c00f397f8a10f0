"""Helpers for parameter pytrees: paths of leaves, globs over them, sums, keys by path."""

import difflib
import fnmatch
import zlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import jax
import jax.numpy as jnp

from gpnas._natural_order import natural_order as natural_order

_MOST = 2**31 - 1  # elements that an int32 counts
#: Any pytree.
Tree = Any
_Value = TypeVar("_Value")
_Node = TypeVar("_Node")
#: `{path: leaf}`.
Leaves = dict[str, jax.Array]
#: A glob of paths, or a function `(path, leaf) → bool`.
Filter = str | Callable[[str, jax.Array], bool]


def matcher(where: Filter) -> Callable[[str, jax.Array], bool]:
    """Turns a path filter into a predicate `(path, leaf) → bool`.

    Args:
      where: A glob over whole paths (`"Dense_0/*"`, `"*kernel"`), or already a predicate.
    """
    if isinstance(where, str):
        return lambda path, leaf: fnmatch.fnmatchcase(path, where)
    return where


def lookup(table: Mapping[str, _Value], path: str, default: _Value) -> _Value:
    """Returns the value of the first path glob in `table` that matches `path`, else `default`."""
    return next(
        (value for glob, value in table.items() if fnmatch.fnmatchcase(path, glob)), default
    )


def globs_of(table: Iterable[str]) -> list[str]:
    """Returns the keys of a table that contain wildcards."""
    return [key for key in table if set(key) & set("*?[")]


def check_globs(field: str, globs: Iterable[str], paths: Iterable[str]) -> None:
    """Checks that each glob matches a path.

    Raises:
      ValueError: For the first glob without a match; the message lists similar paths.
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
    """Returns a key path of `jax.tree_util` as text: `"Dense_0/kernel"`.

    The attribute `value`, which holds the array of an NNX variable, is omitted.
    """
    if len(path) > 1 and path[-1] == jax.tree_util.GetAttrKey("value"):
        path = path[:-1]
    return jax.tree_util.keystr(path, simple=True, separator="/")


def leaves_by_path(values: Tree) -> dict[str, Any]:
    """Returns `{path: leaf}` of a pytree, in its order.

    Raises:
      ValueError: If two leaves have the same path, as in `{"a": {"b": x}, "a/b": y}`.
    """
    found: dict[str, Any] = {}
    for path, leaf in jax.tree_util.tree_flatten_with_path(values)[0]:
        name = path_name(path)
        if name in found:
            raise ValueError(f"params: got two leaves {name}, allowed: one of each path")
        found[name] = leaf
    return found


def nodes_of(kind: type[_Node], state: Tree) -> list[_Node]:
    """Returns the nodes of a type in a pytree, such as an optimizer's state; not nested ones."""
    nodes = jax.tree.leaves(state, is_leaf=lambda x: isinstance(x, kind))
    return [node for node in nodes if isinstance(node, kind)]


def total(leaves: Iterable[jax.Array]) -> jax.Array:
    """Returns () int32, the number of True elements in bool arrays; may be traced.

    Sums in float32 where that is exact in any order: twice as fast on a CPU.

    Raises:
      ValueError: If the arrays have 2³¹ elements or more.
    """
    leaves = list(leaves)
    if (size := sum(leaf.size for leaf in leaves)) > _MOST:
        raise ValueError(f"masks: got {size} elements, allowed: at most {_MOST}")

    def one(leaf: jax.Array) -> jax.Array:
        exact = leaf.size <= 2**24
        return jnp.sum(leaf, dtype=jnp.float32 if exact else jnp.int32).astype(jnp.int32)

    return sum((one(leaf) for leaf in leaves), jnp.int32(0))


def wide(x: jax.Array) -> jax.Array:
    """Casts to at least float32: in float16 squares of 1e-4 underflow, and of 300 overflow."""
    return x if x.dtype.itemsize >= 4 else x.astype(jnp.float32)


def keys_for(key: jax.Array, leaves: Leaves) -> dict[str, jax.Array]:
    """Returns a random key per leaf, from the CRC-32 of its path: other leaves do not affect it."""
    return {path: jax.random.fold_in(key, zlib.crc32(path.encode())) for path in leaves}
