"""Resizing: all that belongs to a network's variables, in other widths with them."""

import functools
import itertools
import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gpnas.errors import UserError
from gpnas.masks import tree
from gpnas.units._groups import UnitGroups, UnitMasks
from gpnas.units._layout import Layout, layouts

Layouts = Mapping[int, Layout]


def resize(
    state: Any,
    variables: Any,
    groups: UnitGroups,
    unit_masks: UnitMasks,
    widths: Mapping[str, int] | None = None,
    round_to: int = 1,
) -> Any:
    """A whole train state in other widths: params, masks, moments, statistics.

    Living units stay. Where a width leaves room, dead ones stay, too, and where it asks for more
    units than there are, new ones come behind them: zeros in every leaf, which is what a dead unit
    is (`units.grow` gives them first weights). So the same function shrinks and grows.

    A leaf of `state` belongs to the leaf of `variables` whose path its own path ends with
    (`opt_state/0/mu/Dense_0/kernel` to `params/Dense_0/kernel`), so this works for any optax
    optimizer, and for a `TrainState` as for a tuple. It may have the leaf's shape, more axes before
    it (a stack of old gradients), or fewer (factored moments). One whose path ends with a group's
    name (a unit mask, a unit's score) has the units on its first axis. Leaves that belong to
    nothing (counts, keys) and scalars stay.

    If dead units' params, gradients and moments are zero, training goes on as it would have, with
    any optimizer that works entry by entry (not with one that takes norms or means over a leaf
    whose divisor is its size, as Adafactor does).

    Args:
      state: Any pytree.
      variables: What was given to `discover`, or its shapes.
      groups: What `discover` found.
      unit_masks: `{group: (size,) bool}`, on the host; groups that are not named live.
      widths: `{group: units}` to have after, as many as live or more; where a group is not named,
        its living units.
      round_to: Widths become multiples of this, upwards.

    Returns:
      A pytree of the same structure.

    Raises:
      UserError: For masks or widths that do not fit, or a leaf of which it is not clear how it
        would change.
    """
    if round_to < 1:
        raise UserError("round_to", round_to, "1 or more")
    flat = jax.tree_util.tree_flatten_with_path(variables)[0]
    shapes = {tree.path_name(path): jnp.shape(leaf) for path, leaf in flat}
    living = {g.name: int(np.sum(unit_masks.get(g.name, g.size))) for g in groups.groups}
    rounded = {
        name: math.ceil(width / round_to) * round_to
        for name, width in (living | dict(widths or {})).items()
    }
    axes, units = layouts(groups, unit_masks, rounded, shapes)
    moves: dict[str, dict[int, Layout]] = {name: {0: layout} for name, layout in units.items()}
    for (path, axis), layout in axes.items():
        moves.setdefault(path, {})[axis] = layout
    whole = shapes | {g.name: (g.size,) for g in groups.groups}

    def leaf(path: tuple, x: Any) -> Any:
        name = tree.path_name(path)
        owner = _owner(name, whole)
        if owner is None or not jnp.ndim(x) or not moves.get(owner):
            return x
        return _move(x, _own_axes(name, jnp.shape(x), whole[owner], moves[owner]))

    return jax.tree.map_with_path(leaf, state)


def _owner(name: str, shapes: Mapping[str, tuple]) -> str | None:
    """The leaf of the variables whose path, or path without its collection, ends this one."""

    def fit(path: str) -> int:
        ends = (path, path.partition("/")[2])
        return max((len(e) for e in ends if e and f"/{name}".endswith(f"/{e}")), default=0)

    best = max(shapes, key=fit, default=None)
    return best if best is not None and fit(best) else None


def _own_axes(name: str, shape: tuple, full: tuple, moves: Layouts) -> Layouts:
    """What becomes of the axes of an array that belongs to a leaf."""
    extra = len(shape) - len(full)
    if extra >= 0 and shape[extra:] == full:
        return {axis + extra: layout for axis, layout in moves.items()}
    if shape == (1,):  # what stands for nothing in a factored state
        return {}
    ways = {}
    for axes in itertools.combinations(range(len(full)), len(shape)):
        if tuple(full[a] for a in axes) == shape:
            own = {i: moves[a] for i, a in enumerate(axes) if a in moves}
            ways[tuple((i, *(x.tobytes() for x in layout)) for i, layout in own.items())] = own
    if len(ways) != 1:
        raise UserError(f"state {name}", shape, f"{full}, or some of these axes without doubt")
    return next(iter(ways.values()))


def _move(x: Any, moves: Layouts) -> Any:
    def along(y: np.ndarray, axis: int) -> np.ndarray:
        source, fresh = moves[axis]
        taken = np.take(y, source, axis)
        lies = [1] * y.ndim
        lies[axis] = -1
        return np.where(fresh.reshape(lies), np.zeros((), y.dtype), taken) if fresh.any() else taken

    return jnp.asarray(functools.reduce(along, moves, np.asarray(x)))
