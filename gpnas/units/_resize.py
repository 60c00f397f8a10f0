"""Resizes train states: everything with the shapes of a network's variables."""

import functools
import itertools
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
) -> Any:
    """Resizes a train state to other widths: params, masks, moments, statistics.

    Active units are kept. If a width exceeds their number, inactive units are kept, too, and new
    units are appended: zeros in every leaf, as inactive units are (`units.grow` initializes them).

    A leaf of `state` belongs to the leaf of `variables` whose path is a suffix of its own path
    (`opt_state/0/mu/Dense_0/kernel` to `params/Dense_0/kernel`). So any optax optimizer works, and
    a `TrainState` as well as a tuple. The leaf may have the same shape, leading axes (a history of
    gradients), or fewer axes (factored moments). A leaf whose path ends with a group's name (a unit
    mask or score) has the units on its first axis. All other leaves and scalars do not change.

    If params, gradients and moments of inactive units are zero, training continues as before with
    any elementwise optimizer, but not with one that averages over a leaf, as Adafactor does.

    Args:
      state: Any pytree.
      variables: The variables given to `discover`, or shapes.
      groups: Groups found by `discover`.
      unit_masks: `{group: (size,) bool}`, on the host; missing groups are active.
      widths: `{group: new size}`, at least the number of active units, which is the default.

    Returns:
      A pytree of the same structure.

    Raises:
      UserError: For wrong masks or widths, or a leaf whose axes are ambiguous.
    """
    shapes = {path: jnp.shape(leaf) for path, leaf in tree.leaves_by_path(variables).items()}
    axes, units = layouts(groups, unit_masks, widths or {}, shapes)
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
    """Returns the path of the variable that `name` ends with, with or without its collection."""

    def fit(path: str) -> int:
        ends = (path, path.partition("/")[2])
        return max((len(e) for e in ends if e and f"/{name}".endswith(f"/{e}")), default=0)

    best = max(shapes, key=fit, default=None)
    return best if best is not None and fit(best) else None


def _own_axes(name: str, shape: tuple, full: tuple, moves: Layouts) -> Layouts:
    """Returns layouts by axis of an array that belongs to a leaf."""
    extra = len(shape) - len(full)
    if extra >= 0 and shape[extra:] == full:
        return {axis + extra: layout for axis, layout in moves.items()}
    if shape == (1,):  # a placeholder in a factored state
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
        shape = [1] * y.ndim
        shape[axis] = -1
        return (
            np.where(fresh.reshape(shape), np.zeros((), y.dtype), taken) if fresh.any() else taken
        )

    return jnp.asarray(functools.reduce(along, moves, np.asarray(x)))
