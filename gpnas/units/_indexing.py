"""Indexing of leaves by unit: the entries that each unit owns, each counted once."""

import itertools
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from gpnas.errors import UserError, check_choice
from gpnas.units._groups import Member, UnitGroup
from gpnas.units.graph import CONSUMES, CONSUMING, PRODUCES

SIDES = {
    "all": lambda member: True,
    "incoming": lambda member: member.role != CONSUMES,
    "outgoing": lambda member: member.role in CONSUMING,
}


def members_on_side(group: UnitGroup, side: str) -> tuple[Member, ...]:
    """Returns the members on a side: "incoming" (produces the units), "outgoing" or "all".

    Raises:
      UserError: For an unknown side.
    """
    check_choice("side", side, SIDES)
    return tuple(filter(SIDES[side], group.members))


def producers(group: UnitGroup) -> tuple[Member, ...]:
    """Returns the kernels that produce the units: incoming weights without biases and scales."""
    return group.with_roles(PRODUCES).members


def owned_indices(member: Member, size: int) -> np.ndarray:
    """Returns (size, k) int, the k indices along the member's axis of each unit, ascending."""
    order = np.lexsort((member.at, member.unit))
    return member.at[order].reshape(size, -1)


def take_units(leaf: jax.Array, member: Member, size: int) -> jax.Array:
    """Returns the entries that each unit owns along one axis of a leaf; (size, entries)."""
    index = owned_indices(member, size).reshape(-1)
    rows = jnp.moveaxis(leaf, member.axis, 0)
    return (rows if _is_arange(index, len(rows)) else jnp.take(rows, index, 0)).reshape(size, -1)


def put_units(leaf: jax.Array, member: Member, entries: jax.Array, where: jax.Array) -> jax.Array:
    """Replaces the entries of some units in a leaf: the inverse of `take_units`.

    Args:
      leaf: An array of any shape.
      member: One of its axes.
      entries: (size, entries).
      where: (size,) bool, which units to replace.
    """
    index = owned_indices(member, len(where)).reshape(-1)
    rows = jnp.moveaxis(leaf, member.axis, 0)
    new = entries.reshape(len(index), *rows.shape[1:]).astype(leaf.dtype)
    own = np.repeat(np.arange(len(where)), len(index) // len(where))
    chosen = jnp.asarray(where)[own].reshape(-1, *(1,) * (rows.ndim - 1))
    if _is_arange(index, len(rows)):
        return jnp.moveaxis(jnp.where(chosen, new, rows), 0, member.axis)
    kept = jnp.where(chosen, new, jnp.take(rows, index, 0))
    return jnp.moveaxis(rows.at[index].set(kept), 0, member.axis)


def _is_arange(index: np.ndarray, size: int) -> bool:
    """Returns whether the indices are 0, 1, …, size - 1."""
    return np.array_equal(index, np.arange(size))


def sum_owned(group: UnitGroup, values: Mapping[str, jax.Array], side: str = "all") -> jax.Array:
    """Sums the entries that each unit owns; (size,) float32. Missing leaves count as zero.

    Raises:
      UserError: If none of the group's leaves is in `values`.
    """
    own: dict[str, list[Member]] = {}
    for member in members_on_side(group, side):
        if member.path in values:
            own.setdefault(member.path, []).append(member)
    if not own:
        raise UserError("values", ", ".join(values) or "none", f"{side} leaves of {group.name}")
    return sum(
        (_once(values[path], members, group.size) for path, members in own.items()),
        jnp.zeros(group.size, jnp.float32),
    )


def _once(leaf: jax.Array, members: Sequence[Member], size: int) -> jax.Array:
    """Sums the entries that a unit owns along any of several axes (inclusion-exclusion)."""
    found = jnp.zeros(size, jnp.float32)
    for count in range(1, len(members) + 1):
        for some in itertools.combinations(sorted(members, key=lambda m: m.axis), count):
            axes = [member.axis for member in some]
            others = tuple(a for a in range(leaf.ndim) if a not in axes)
            places = _joined([owned_indices(member, size) for member in some])
            part = jnp.sum(jnp.sum(leaf, others, jnp.float32)[places].reshape(size, -1), 1)
            found += part if count % 2 else -part
    return found


def _joined(tables: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
    """Returns indices of all combinations of (size, k) indices along several axes."""
    count = len(tables)
    wide = [
        table.reshape(len(table), *(-1 if i == j else 1 for j in range(count)))
        for i, table in enumerate(tables)
    ]
    return tuple(np.broadcast_arrays(*wide))
