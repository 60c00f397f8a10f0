"""Verification of groups: removes random units and compares with the original function."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gpnas._jit_once import jit_once
from gpnas.masks import tree
from gpnas.units._compact import compact
from gpnas.units._groups import UnitGroups, active_indices


def verify(
    apply_fn: Callable[..., Any],
    variables: Any,
    groups: UnitGroups,
    *inputs: Any,
    key: jax.Array,
    each: bool = True,
) -> float:
    """Removes random units, of each group alone and of all together, and compares outputs.

    The reference is `apply_fn` itself, with the entries of removed units set to zero. Leaves with a
    constant value, as some initializers produce, are filled with random numbers first, since a
    scale of zero would hide all differences.

    Args:
      apply_fn, variables, groups: Arguments and result of `discover`.
      *inputs: Arrays.
      key: Random key.
      each: Whether to also try each group alone, which compiles a program per group.

    Returns:
      The largest `relative_difference`.
    """
    random = np.random.default_rng(np.asarray(jax.random.key_data(key)).ravel())
    variables = _randomized(variables, random)
    single = [(group,) for group in groups.groups]
    trials = [*(single if each and len(single) > 1 else ()), groups.groups]
    reference = jit_once(apply_fn)
    worst = 0.0
    for trial in trials:
        masks = {group.name: _random_mask(random, group.size) for group in trial}
        try_masks = _compatible(groups, masks, variables)
        zeroed = _zeroed(variables, active_indices(groups, try_masks, variables))
        small_apply, small = compact(apply_fn, variables, groups, try_masks)
        worst = max(
            worst,
            relative_difference(reference(zeroed, *inputs), jit_once(small_apply)(small, *inputs)),
        )
    return worst


def relative_difference(a: Any, b: Any) -> float:
    """Returns the largest absolute difference, relative to the largest number in `a` if above 1.

    Infinite where only one of the two is finite, or where `a` is finite nowhere.

    Args:
      a, b: Pytrees of arrays, of one structure.
    """

    def leaf(x: Any, y: Any) -> float:
        x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
        ok = np.isfinite(x)
        if not np.array_equal(ok, np.isfinite(y)) or (x.size and not ok.any()):
            return float("inf")
        scale = max(1.0, float(np.max(np.abs(x[ok]), initial=0)))
        return float(np.max(np.abs(x - y)[ok], initial=0)) / scale

    return max(jax.tree.leaves(jax.tree.map(leaf, a, b)), default=0.0)


def _random_mask(random: np.random.Generator, size: int) -> np.ndarray:
    """Returns a random mask (size,) with a True and a False entry; a single unit may be either."""
    return random.permutation(size) < random.integers(size > 1, max(size, 2))


def _compatible(groups: UnitGroups, masks: dict, variables: Any) -> dict:
    """Drops masks that, together with those before, would remove an entire axis."""
    kept: dict = {}
    for name, mask in masks.items():
        trial = active_indices(groups, {**kept, name: mask}, variables)
        if all(keep.any() for axes in trial.values() for keep in axes.values()):
            kept[name] = mask
    return kept


def _zeroed(variables: Any, active: dict) -> Any:
    """Applies the masks on the host."""

    def leaf(path: tuple, x: Any) -> Any:
        axes = active.get(tree.path_name(path), {})
        x = np.array(x) if axes else x
        for axis, keep in axes.items():
            np.moveaxis(x, axis, 0)[~keep] = 0
        return x

    return jax.tree.map_with_path(leaf, variables)


def _randomized(variables: Any, random: np.random.Generator) -> Any:
    """Randomizes leaves with a constant value; positive ones stay positive."""

    def randomize(leaf: Any) -> Any:
        floating = jnp.issubdtype(jnp.result_type(leaf), jnp.floating)
        if not floating or np.size(leaf) < 2 or np.ptp(leaf) > 0:
            return leaf
        if np.ndim(leaf) < 2:
            noise = random.uniform(0.05, 0.5, leaf.shape)
        else:
            noise = random.normal(size=leaf.shape) / np.sqrt(leaf.size / leaf.shape[-1])
        return leaf + noise.astype(leaf.dtype)

    return jax.tree.map(randomize, variables)
