"""Entries: the numbers in a leaf that belong to a unit, each counted once."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gpnas.errors import UserError
from gpnas.masks import tree
from gpnas.units._groups import Member, UnitGroup
from gpnas.units.graph._roles import MAKES, READERS, READS

SIDES = {
    "all": lambda member: True,
    "incoming": lambda member: member.role != READS,
    "outgoing": lambda member: member.role in READERS,
}


def leaves(values: Any) -> dict[str, Any]:
    """The leaves of a pytree by path."""
    flat = jax.tree_util.tree_flatten_with_path(values)[0]
    return {tree.path_name(path): leaf for path, leaf in flat}


def of_side(group: UnitGroup, side: str) -> tuple[Member, ...]:
    """Members on one side of the units: "incoming" (what makes them), "outgoing" or "all".

    Raises:
      UserError: For another side.
    """
    if side not in SIDES:
        raise UserError("side", side, ", ".join(SIDES))
    return tuple(filter(SIDES[side], group.members))


def makers(group: UnitGroup) -> tuple[Member, ...]:
    """Members of kernels that make the units: their incoming weights without biases and scales."""
    return tuple(member for member in group.members if member.role == MAKES)


def owned(member: Member, size: int) -> np.ndarray:
    """(size, k) int, the k indices along the member's axis that each unit owns, in order."""
    order = np.lexsort((member.at, member.unit))
    return member.at[order].reshape(size, -1)


def take(leaf: jax.Array, member: Member, size: int) -> jax.Array:
    """(size, entries), what each unit owns along one axis of a leaf, in the leaf's order."""
    index = owned(member, size).reshape(-1)
    rows = jnp.moveaxis(leaf, member.axis, 0)
    return (rows if _plain(index, len(rows)) else jnp.take(rows, index, 0)).reshape(size, -1)


def put(leaf: jax.Array, member: Member, entries: jax.Array, where: jax.Array) -> jax.Array:
    """A leaf with other entries for some of its units: the inverse of `take`.

    Args:
      leaf: Of any shape.
      member: One axis of it.
      entries: (size, entries).
      where: (size,) bool, of which units.
    """
    index = owned(member, len(where)).reshape(-1)
    rows = jnp.moveaxis(leaf, member.axis, 0)
    new = entries.reshape(len(index), *rows.shape[1:]).astype(leaf.dtype)
    own = np.repeat(np.arange(len(where)), len(index) // len(where))
    chosen = jnp.asarray(where)[own].reshape(-1, *(1,) * (rows.ndim - 1))
    if _plain(index, len(rows)):
        return jnp.moveaxis(jnp.where(chosen, new, rows), 0, member.axis)
    kept = jnp.where(chosen, new, jnp.take(rows, index, 0))
    return jnp.moveaxis(rows.at[index].set(kept), 0, member.axis)


def _plain(index: np.ndarray, size: int) -> bool:
    """Whether indices are all there are, in order."""
    return np.array_equal(index, np.arange(size))


def total(group: UnitGroup, values: Mapping[str, jax.Array], side: str = "all") -> jax.Array:
    """(size,) float32, the sum of all that each unit owns; leaves that are not there count zero.

    Raises:
      UserError: If none of the group's leaves is there.
    """
    own: dict[str, list[Member]] = {}
    for member in of_side(group, side):
        if member.path in values:
            own.setdefault(member.path, []).append(member)
    if not own:
        raise UserError("values", ", ".join(values) or "none", f"{side} leaves of {group.name}")
    return sum(
        (_once(values[path], members, group.size) for path, members in own.items()),
        jnp.zeros(group.size, jnp.float32),
    )


def _once(leaf: jax.Array, members: Sequence[Member], size: int) -> jax.Array:
    """Sum of a leaf's entries that a unit owns along any of several axes (inclusion, exclusion)."""
    found = jnp.zeros(size, jnp.float32)
    for count in range(1, len(members) + 1):
        for some in itertools.combinations(sorted(members, key=lambda m: m.axis), count):
            axes = [member.axis for member in some]
            others = tuple(a for a in range(leaf.ndim) if a not in axes)
            places = _joined([owned(member, size) for member in some])
            part = jnp.sum(jnp.sum(leaf, others, jnp.float32)[places].reshape(size, -1), 1)
            found += part if count % 2 else -part
    return found


def _joined(tables: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
    """(size, k) indices along each of some axes, as indices of all places where they meet."""
    count = len(tables)
    wide = [
        table.reshape(len(table), *(-1 if i == j else 1 for j in range(count)))
        for i, table in enumerate(tables)
    ]
    return tuple(np.broadcast_arrays(*wide))
