"""Entries of new units in the leaves, and common parts of all initializations."""

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gpnas.errors import UserError
from gpnas.masks import tree
from gpnas.units._groups import (
    Member,
    UnitGroup,
    UnitGroups,
    UnitMasks,
    active_indices,
    weight_masks,
)
from gpnas.units._indexing import put_units, take_units
from gpnas.units.graph import ADDS, CONSUMES, CONSUMING, PRODUCES, SCALES

Leaves = dict[str, jax.Array]
_ROLES = {PRODUCES: (PRODUCES,), ADDS: (ADDS,), SCALES: (SCALES,), CONSUMES: CONSUMING}
# (path, leaf, He's standard deviation for its active fan-in) → values of the leaf's shape.
Fresh = Callable[[str, jax.Array, jax.Array], jax.Array]


#: `(variables, groups, before, after, key, entry_masks=None) → variables`.
Init = Callable[..., Any]


class Growth(NamedTuple):
    """A mask update of units.

    Attributes:
      variables: Params and other variables before the update.
      groups: Groups of units.
      before, after: Active units before and after the update, `{group: (size,) bool}`.
      key: Random key.
      entry_masks: Masks of single weights, as for `weight_masks`; None: no such masks.
      grown: New units, `{group: (size,) bool}`.
    """

    variables: Any
    groups: UnitGroups
    before: UnitMasks
    after: UnitMasks
    key: jax.Array
    entry_masks: Any
    grown: Mapping[str, Any]

    def growing_groups(self) -> Iterator[UnitGroup]:
        """Yields the groups that have new units, or may have under tracing."""
        for group in self.groups.groups:
            grown = self.grown.get(group.name)
            if grown is not None and not (is_concrete(grown) and not grown.any()):
                yield group

    def kept(self, group: UnitGroup) -> Any:
        """Returns the units that are active before and after; (size,) bool."""
        return self.before[group.name] & self.after[group.name]

    def active_entries(self) -> Leaves:
        """Returns `{path: bool of the leaf's shape}`, the entries active after the update."""
        masks = tree.leaves_by_path(
            weight_masks(self.groups, self.after, self.variables, self.entry_masks)
        )
        whole = tree.leaves_by_path(self.variables)
        return {path: jnp.broadcast_to(mask, whole[path].shape) for path, mask in masks.items()}


class Given(NamedTuple):
    """What the initial weights of a group's new units may depend on.

    Attributes:
      grown, kept: (size,) bool; new units, and units that are active before and after.
      rows: (size, entries), the weights of each unit on the side that is initialized.
      usable: (entries,) bool, entries that are not masked in all units.
      key: Random key of the group.
    """

    grown: Any
    kept: Any
    rows: jax.Array
    usable: jax.Array
    key: jax.Array


def make_init(fill: Callable[[Growth], Leaves], preserves_function: bool = True) -> Init:
    """Makes an `Init`.

    Args:
      fill: `growth → {path: leaf}`, with all leaves in order.
      preserves_function: Whether the initialization must not change the function.
    """

    def init_fn(
        variables: Any,
        groups: UnitGroups,
        before: UnitMasks,
        after: UnitMasks,
        key: jax.Array,
        entry_masks: Any = None,
    ) -> Any:
        for name in (*before, *after):
            groups.named(name)
        grown = {name: after[name] & ~before[name] for name in after if name in before}
        new = Growth(variables, groups, before, after, key, entry_masks, grown)
        for group in new.growing_groups() if preserves_function else ():
            if group.summed:
                allowed = "units whose activations only weights consume"
                raise UserError(f"new units of {group.name}", group.summed, allowed)
        return jax.tree.unflatten(jax.tree.structure(variables), list(fill(new).values()))

    return init_fn


def init_from_vectors(
    vectors: Callable[[UnitGroup, Given], jax.Array], norm: float | None, role: str
) -> Init:
    """Makes an `Init` that sets (size, entries) vectors on one side and zeros on the other.

    Args:
      vectors: `(group, given) → (size, entries)`, whose norms are ignored.
      norm: Their L2 norm; the mean over active units if None.
      role: Role of the leaves that get the vectors: PRODUCES or CONSUMES.
    """

    def fill(new: Growth) -> Leaves:
        found, active = tree.leaves_by_path(new.variables), new.active_entries()
        if role == PRODUCES:  # weights between two new units stay zero
            consuming = _entries(new, CONSUMES)
            active |= {path: active[path] & ~marks for path, marks in consuming.items()}
        keys = tree.keys_for(new.key, dict(new.grown))
        given = dict(found)
        for group in new.growing_groups():
            members = list(group.with_roles(*_ROLES[role]).members)
            if not members:
                raise UserError("grow_init", group.name, f"units with a kernel that {role} them")
            rows = _side(found, group, members)
            usable = jnp.any(jnp.concatenate(_side(active, group, members), 1), 0)
            kept, whole = new.kept(group), jnp.concatenate(rows, 1)
            own = Given(new.grown[group.name], kept, whole, usable, keys[group.name])
            fresh = _scaled(vectors(group, own), norm, kept, whole)
            ends = np.cumsum([row.shape[1] for row in rows])[:-1]
            for m, part in zip(members, jnp.split(fresh, ends, 1), strict=True):
                given[m.path] = put_units(given[m.path], m, part, own.grown)

        def placed(path: str, leaf: jax.Array, deviation: jax.Array) -> jax.Array:
            return given[path]

        return fill_grown(new, {PRODUCES: zeros, CONSUMES: zeros, role: placed})

    return make_init(fill)


def _side(arrays: Leaves, group: UnitGroup, members: list[Member]) -> list[jax.Array]:
    return [take_units(arrays[m.path], m, group.size) for m in members]


def zeros(path: str, leaf: jax.Array, deviation: jax.Array) -> jax.Array:
    """Returns zeros."""
    return jnp.zeros_like(leaf)


def he_normal(new: Growth, scale: float) -> Fresh:
    """Draws normal numbers with He's standard deviation times `scale`, with a key per leaf."""
    keys = tree.keys_for(new.key, tree.leaves_by_path(new.variables))

    def drawn(path: str, leaf: jax.Array, deviation: jax.Array) -> jax.Array:
        return (scale * deviation * jax.random.normal(keys[path], leaf.shape)).astype(leaf.dtype)

    return drawn


def fill_grown(new: Growth, fill: Mapping[str, Fresh]) -> Leaves:
    """Fills the entries of new units in all leaves; where roles overlap, consuming ones prevail.

    Args:
      new: The mask update.
      fill: Values of kernels, by role.
    """
    own = {role: _entries(new, role) for role in _ROLES}
    over = {m.path: m.over for group in new.groups.groups for m in group.members}
    found, active = tree.leaves_by_path(new.variables), new.active_entries()
    for path, leaf in found.items():
        marked = {role: marks[path] for role, marks in own.items() if path in marks}
        if not marked:
            continue
        touched = _any(marked.values(), leaf.shape)
        old = active[path] & ~touched
        fresh = leaf
        for role, marks in marked.items():
            if role in fill:
                deviation = _deviation(leaf, active[path], old, over[path])
                value = fill[role](path, leaf, deviation)
            else:
                value = zeros(path, leaf, leaf) if role == ADDS else _mean(leaf, old)
            fresh = jnp.where(marks, value, fresh)
        found[path] = _cut(fresh, touched & ~active[path])
    return found


def zero_masked(new: Growth, found: Leaves) -> Leaves:
    """Sets the masked entries of new units to zero."""
    active, shapes = new.active_entries(), {path: leaf.shape for path, leaf in found.items()}
    marks = [_entries(new, role) for role in _ROLES]
    own = {p: _any([m[p] for m in marks if p in m], shape) for p, shape in shapes.items()}
    return {path: _cut(leaf, own[path] & ~active[path]) for path, leaf in found.items()}


def _cut(leaf: jax.Array, where: jax.Array) -> jax.Array:
    return jnp.where(where, jnp.zeros((), leaf.dtype), leaf)


def _any(marks: Iterable[jax.Array], shape: tuple[int, ...]) -> jax.Array:
    return functools.reduce(jnp.logical_or, marks, jnp.zeros(shape, bool))


def _entries(new: Growth, role: str) -> Leaves:
    """Marks entries of new units in leaves of one role; `{path: bool}`, broadcast to leaves."""
    parts = tuple(group.with_roles(*_ROLES[role]) for group in new.growing_groups())
    unchanged = {name: ~grown for name, grown in new.grown.items()}
    active = active_indices(UnitGroups(parts, ()), unchanged, new.variables)
    rank = {path: jnp.ndim(leaf) for path, leaf in tree.leaves_by_path(new.variables).items()}

    def along(path: str, axis: int) -> jax.Array:
        return jnp.expand_dims(~active[path][axis], [a for a in range(rank[path]) if a != axis])

    return {
        path: functools.reduce(jnp.logical_or, [along(path, axis) for axis in axes])
        for path, axes in active.items()
    }


def _deviation(
    leaf: jax.Array, active: jax.Array, old: jax.Array, over: tuple[int, ...]
) -> jax.Array:
    """Returns He's standard deviation for the active fan-in; of a table, the RMS of active entries.

    `over` are the axes of the fan-in; a table, such as an embedding, has none.
    """
    if over:
        fan_in = jnp.sum(active, over, jnp.float32, keepdims=True)
        return jnp.sqrt(2 / jnp.maximum(fan_in, 1))
    squares = jnp.where(old, jnp.square(leaf.astype(jnp.float32)), 0)
    return jnp.sqrt(jnp.sum(squares) / _count(old))


def _mean(leaf: jax.Array, old: jax.Array) -> jax.Array:
    mean = jnp.sum(jnp.where(old, leaf, 0).astype(jnp.float32)) / _count(old)
    return jnp.broadcast_to(mean.astype(leaf.dtype), leaf.shape)


def _count(marks: Any) -> jax.Array:
    """Returns the number of marks, at least 1; () float32."""
    return jnp.maximum(jnp.sum(jnp.asarray(marks), dtype=jnp.float32), 1)


def _scaled(rows: jax.Array, norm: float | None, kept: Any, old: jax.Array) -> jax.Array:
    """Scales rows to one norm, by default the mean over active rows."""
    if norm is None:
        lengths = jnp.linalg.norm(old.astype(jnp.float32), axis=1)
        wanted = jnp.sum(jnp.where(kept, lengths, 0)) / _count(kept)
    else:
        wanted = jnp.float32(norm)
    return rows * wanted / jnp.maximum(jnp.linalg.norm(rows, axis=1, keepdims=True), 1e-30)


def rank(marks: Any) -> jax.Array:
    """Returns the number of marks before each position; (n,) int32."""
    return jnp.maximum(jnp.cumsum(jnp.asarray(marks, jnp.int32)) - 1, 0)


def is_concrete(marks: Any) -> bool:
    """Returns whether masks are concrete, not traced."""
    return not isinstance(marks, jax.core.Tracer)
