"""Newborns: which entries of which leaves are theirs, and what all their first weights share."""

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from gpnas.errors import UserError
from gpnas.masks import tree
from gpnas.units._groups import Member, UnitGroup, UnitGroups, UnitMasks, alive, weight_masks
from gpnas.units._indexing import leaves, put, take
from gpnas.units.graph._roles import ADDS, MAKES, READERS, READS, SCALES

Leaves = dict[str, jax.Array]
_ROLES = {MAKES: (MAKES,), ADDS: (ADDS,), SCALES: (SCALES,), READS: READERS}
# (path, leaf, He's deviation for its living fan-in) → values for all of the leaf.
Fresh = Callable[[str, jax.Array, jax.Array], jax.Array]


class Init(Protocol):
    """The first weights of newborns: `(variables, groups, before, after, key) → variables`."""

    def __call__(
        self,
        variables: Any,
        groups: UnitGroups,
        before: UnitMasks,
        after: UnitMasks,
        key: jax.Array,
        synapses: Any = None,
    ) -> Any:
        """Gives newborn units their weights.

        Args:
          variables: What was given to `discover`.
          groups: As `discover` finds them.
          before, after: `{group: (size,) bool}`; groups that are not named live.
          key: Random key.
          synapses: Masks of single weights, as for `weight_masks`.

        Raises:
          UserError: For a group that there is not, or newborns that cannot be had.
        """


class Growth(NamedTuple):
    """One change of unit masks; fields as of `Init`, and who is born: `{group: (size,) bool}`."""

    variables: Any
    groups: UnitGroups
    before: UnitMasks
    after: UnitMasks
    key: jax.Array
    synapses: Any
    born: Mapping[str, Any]

    def grown(self) -> Iterator[UnitGroup]:
        """Groups that have newborns, or may have."""
        for group in self.groups.groups:
            born = self.born.get(group.name)
            if born is not None and not (certain(born) and not born.any()):
                yield group

    def living(self, group: UnitGroup) -> Any:
        """(size,) bool, the units that were there and stay."""
        return self.before[group.name] & self.after[group.name]

    def lives(self) -> Leaves:
        """Which entries live after: bool, of the leaves' shapes, by path."""
        masks = leaves(weight_masks(self.groups, self.after, self.variables, self.synapses))
        whole = leaves(self.variables)
        return {path: jnp.broadcast_to(mask, whole[path].shape) for path, mask in masks.items()}


class Given(NamedTuple):
    """What the first weights of a group's newborns may depend on.

    Attributes:
      born, living: (size,) bool; who is new, and who was there and stays.
      rows: (size, entries), the weights of each unit on the side that is given.
      usable: (entries,) bool, which of them are not masked in all units.
      key: Random key of the group.
    """

    born: Any
    living: Any
    rows: jax.Array
    usable: jax.Array
    key: jax.Array


def initialisation(fill: Callable[[Growth], Leaves], silent: bool = True) -> Init:
    """An `Init` from what it does with a change of masks.

    Args:
      fill: `growth → {path: leaf}`, all leaves in order.
      silent: Whether the function must not change by it.
    """

    def init_fn(
        variables: Any,
        groups: UnitGroups,
        before: UnitMasks,
        after: UnitMasks,
        key: jax.Array,
        synapses: Any = None,
    ) -> Any:
        for name in (*before, *after):
            groups.named(name)
        born = {name: after[name] & ~before[name] for name in after if name in before}
        new = Growth(variables, groups, before, after, key, synapses, born)
        for group in new.grown() if silent else ():
            if group.summed:
                allowed = "units that only weights look at"
                raise UserError(f"newborns of {group.name}", group.summed, allowed)
        return jax.tree.unflatten(jax.tree.structure(variables), list(fill(new).values()))

    return init_fn


def by_vectors(
    vectors: Callable[[UnitGroup, Given], jax.Array], norm: float | None, role: str
) -> Init:
    """Gives newborns (size, entries) vectors on one side, and nothing on the other.

    Args:
      vectors: `(group, given) → (size, entries)`, of which only directions count.
      norm: Their length; the mean of the living if None.
      role: Which leaves they are for: those that make the units, or those that read them.
    """

    def fill(new: Growth) -> Leaves:
        found, lives, reads = leaves(new.variables), new.lives(), _entries(new, READS)
        if role == MAKES:  # what newborns would read of each other stays zero
            lives |= {path: lives[path] & ~marks for path, marks in reads.items()}
        keys = tree.keys_for(new.key, dict(new.born))
        given = dict(found)
        for group in new.grown():
            members = [m for m in group.members if m.role in _ROLES[role]]
            rows = _side(found, group, members)
            usable = jnp.any(jnp.concatenate(_side(lives, group, members), 1), 0)
            living, whole = new.living(group), jnp.concatenate(rows, 1)
            own = Given(new.born[group.name], living, whole, usable, keys[group.name])
            fresh = _scaled(vectors(group, own), norm, living, whole)
            ends = np.cumsum([row.shape[1] for row in rows])[:-1]
            for m, part in zip(members, jnp.split(fresh, ends, 1), strict=True):
                given[m.path] = put(given[m.path], m, part, own.born)

        def placed(path: str, leaf: jax.Array, deviation: jax.Array) -> jax.Array:
            return given[path]

        return settle(new, {MAKES: nothing, READS: nothing, role: placed})

    return initialisation(fill)


def _side(arrays: Leaves, group: UnitGroup, members: list[Member]) -> list[jax.Array]:
    return [take(arrays[m.path], m, group.size) for m in members]


def nothing(path: str, leaf: jax.Array, deviation: jax.Array) -> jax.Array:
    """Zeros."""
    return jnp.zeros_like(leaf)


def draw(new: Growth, scale: float) -> Fresh:
    """Normal numbers of He's deviation times `scale`, one key a leaf."""
    keys = tree.keys_for(new.key, leaves(new.variables))

    def drawn(path: str, leaf: jax.Array, deviation: jax.Array) -> jax.Array:
        return (scale * deviation * jax.random.normal(keys[path], leaf.shape)).astype(leaf.dtype)

    return drawn


def settle(new: Growth, fill: Mapping[str, Fresh]) -> Leaves:
    """All leaves, with newborns' entries filled; where one reads another, reading has the last say.

    Args:
      new: The change of masks.
      fill: Values of kernels by role: those that make newborns, and those that read them.
    """
    own = {role: _entries(new, role) for role in _ROLES}
    over = {m.path: m.over for group in new.groups.groups for m in group.members}
    found, lives = leaves(new.variables), new.lives()
    for path, leaf in found.items():
        mine = {role: marks[path] for role, marks in own.items() if path in marks}
        if not mine:
            continue
        touched = _any(mine.values(), leaf.shape)
        old = lives[path] & ~touched
        fresh = leaf
        for role, marks in mine.items():
            if role in fill:
                deviation = _deviation(leaf, lives[path], old, over[path])
                value = fill[role](path, leaf, deviation)
            else:
                value = nothing(path, leaf, leaf) if role == ADDS else _mean(leaf, old)
            fresh = jnp.where(marks, value, fresh)
        found[path] = _cut(fresh, touched & ~lives[path])
    return found


def masked(new: Growth, found: Leaves) -> Leaves:
    """Leaves whose entries are zero where they are newborns' and masked."""
    lives, shapes = new.lives(), {path: leaf.shape for path, leaf in found.items()}
    marks = [_entries(new, role) for role in _ROLES]
    own = {p: _any([m[p] for m in marks if p in m], shape) for p, shape in shapes.items()}
    return {path: _cut(leaf, own[path] & ~lives[path]) for path, leaf in found.items()}


def _cut(leaf: jax.Array, where: jax.Array) -> jax.Array:
    return jnp.where(where, jnp.zeros((), leaf.dtype), leaf)


def _any(marks: Iterable[jax.Array], shape: tuple[int, ...]) -> jax.Array:
    return functools.reduce(jnp.logical_or, marks, jnp.zeros(shape, bool))


def _entries(new: Growth, role: str) -> Leaves:
    """Where what belongs to newborns by one role is in the leaves: bool, broadcastable."""
    shapes = {path: jnp.shape(leaf) for path, leaf in leaves(new.variables).items()}
    parts = tuple(
        group._replace(members=tuple(m for m in group.members if m.role in _ROLES[role]))
        for group in new.grown()
    )
    staying = {name: ~born for name, born in new.born.items()}
    found = {}
    for path, axes in alive(UnitGroups(parts, ()), staying, shapes).items():
        rank = range(len(shapes[path]))
        marks = [
            jnp.expand_dims(~lives, [a for a in rank if a != axis]) for axis, lives in axes.items()
        ]
        found[path] = functools.reduce(jnp.logical_or, marks)
    return found


def _deviation(
    leaf: jax.Array, lives: jax.Array, old: jax.Array, over: tuple[int, ...]
) -> jax.Array:
    """He's for what is alive of the fan-in; for a table, that of its living entries."""
    if over:
        fan_in = jnp.sum(lives, over, jnp.float32, keepdims=True)
        return jnp.sqrt(2 / jnp.maximum(fan_in, 1))
    squares = jnp.where(old, jnp.square(leaf.astype(jnp.float32)), 0)
    return jnp.sqrt(jnp.sum(squares) / _count(old))


def _mean(leaf: jax.Array, old: jax.Array) -> jax.Array:
    mean = jnp.sum(jnp.where(old, leaf, 0).astype(jnp.float32)) / _count(old)
    return jnp.broadcast_to(mean.astype(leaf.dtype), leaf.shape)


def _count(marks: Any) -> jax.Array:
    """() float32, how many, 1 for none."""
    return jnp.maximum(jnp.sum(jnp.asarray(marks), dtype=jnp.float32), 1)


def _scaled(rows: jax.Array, norm: float | None, living: Any, old: jax.Array) -> jax.Array:
    """Rows of one length, by default the mean of the living rows'."""
    if norm is None:
        lengths = jnp.linalg.norm(old.astype(jnp.float32), axis=1)
        wanted = jnp.sum(jnp.where(living, lengths, 0)) / _count(living)
    else:
        wanted = jnp.float32(norm)
    return rows * wanted / jnp.maximum(jnp.linalg.norm(rows, axis=1, keepdims=True), 1e-30)


def rank(marks: Any) -> jax.Array:
    """(n,) int32, how many marks there are before each one."""
    return jnp.maximum(jnp.cumsum(jnp.asarray(marks, jnp.int32)) - 1, 0)


def certain(marks: Any) -> bool:
    """Whether masks are there to be looked at, and not traced."""
    return not isinstance(marks, jax.core.Tracer)
