"""Resizing: all that belongs to a network's variables, made smaller with them."""

import functools
import itertools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gpnas.errors import UserError
from gpnas.masks import tree
from gpnas.units.group import UnitGroups, UnitMasks, alive, check_masks

Kept = Mapping[int, np.ndarray]


def resize(state: Any, variables: Any, groups: UnitGroups, unit_masks: UnitMasks) -> Any:
    """Leaves dead units out of a whole train state: moments, masks, statistics, as of the params.

    A leaf of `state` belongs to the leaf of `variables` whose path its own path ends with
    (`opt_state/0/mu/Dense_0/kernel` to `params/Dense_0/kernel`), so this works for any optax
    optimizer, and for a `TrainState` as for a tuple. It may have the leaf's shape, more axes before
    it (a stack of old gradients), or fewer (factored moments). Leaves that belong to none (counts,
    keys) and scalars stay.

    If dead units' params, gradients and moments are zero, training goes on as it would have, with
    any optimizer that works entry by entry (not with one that takes norms or means over a leaf
    whose divisor is its size, as Adafactor does).

    Args:
      state: Any pytree.
      variables: What was given to `discover`, or its shapes.
      groups: What `discover` found.
      unit_masks: `{group: (size,) bool}`, on the host; groups that are not named live.

    Returns:
      A pytree of the same structure.

    Raises:
      UserError: For masks that do not fit, or a leaf of which it is not clear how it would shrink.
    """
    flat = jax.tree_util.tree_flatten_with_path(variables)[0]
    shapes = {tree.path_name(path): jnp.shape(leaf) for path, leaf in flat}
    living = alive(groups, check_masks(groups, unit_masks), shapes)
    kept = {p: {a: np.flatnonzero(m) for a, m in axes.items()} for p, axes in living.items()}

    def leaf(path: tuple, x: Any) -> Any:
        name = tree.path_name(path)
        owner = _owner(name, shapes)
        if owner is None or not jnp.ndim(x) or not kept.get(owner):
            return x
        return _slice(x, _own_axes(name, jnp.shape(x), shapes[owner], kept[owner]))

    return jax.tree.map_with_path(leaf, state)


def _owner(name: str, shapes: Mapping[str, tuple]) -> str | None:
    """The leaf of the variables whose path, or path without its collection, ends this one."""

    def fit(path: str) -> int:
        ends = (path, path.partition("/")[2])
        return max((len(e) for e in ends if e and f"/{name}".endswith(f"/{e}")), default=0)

    best = max(shapes, key=fit, default=None)
    return best if best is not None and fit(best) else None


def _own_axes(name: str, shape: tuple, full: tuple, kept: Kept) -> Kept:
    """What is kept along the axes of an array that belongs to a leaf."""
    extra = len(shape) - len(full)
    if extra >= 0 and shape[extra:] == full:
        return {axis + extra: left for axis, left in kept.items()}
    if shape == (1,):  # what stands for nothing in a factored state
        return {}
    ways = {}
    for axes in itertools.combinations(range(len(full)), len(shape)):
        if tuple(full[a] for a in axes) == shape:
            own = {i: kept[a] for i, a in enumerate(axes) if a in kept}
            ways[tuple((i, left.tobytes()) for i, left in own.items())] = own
    if len(ways) != 1:
        raise UserError(f"state {name}", shape, f"{full}, or some of these axes without doubt")
    return next(iter(ways.values()))


def _slice(x: Any, kept: Kept) -> Any:
    host = functools.reduce(lambda y, axis: np.take(y, kept[axis], axis), kept, np.asarray(x))
    return jnp.asarray(host)
