"""Verification: removes units at random, and compares with the function that was given."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gpnas.masks import tree
from gpnas.units._compact import compact
from gpnas.units._groups import UnitGroups, alive


def verify(
    apply_fn: Callable[..., Any],
    variables: Any,
    groups: UnitGroups,
    *inputs: Any,
    key: jax.Array,
    each: bool = True,
) -> float:
    """Removes random units, of each group alone and of all together, and compares outputs.

    The reference is `apply_fn` itself, on variables of which the dead units' entries are zero.
    Leaves that hold one number throughout, as they are initialised, are first filled with random
    numbers: a scale of zero would hide everything behind it.

    Args:
      apply_fn, variables, groups: As for `discover`, and what it returned.
      *inputs: Arrays.
      key: Random key.
      each: Whether each group is tried alone, too, which compiles a program for it.

    Returns:
      The largest absolute difference, divided by the largest output where that is above 1; infinite
      where only one of the two outputs is finite, or neither is anywhere.
    """
    random = np.random.default_rng(np.asarray(jax.random.key_data(key)).ravel())
    variables = _stirred(variables, random)
    alone = [(group,) for group in groups.groups]
    trials = [*(alone if each and len(alone) > 1 else ()), groups.groups]
    reference = _quick(apply_fn)
    worst = 0.0
    for trial in trials:
        masks = {group.name: _random_mask(random, group.size) for group in trial}
        try_masks = _living(groups, masks, variables)
        zeroed = _zeroed(variables, _alive(groups, try_masks, variables))
        small_apply, small = compact(apply_fn, variables, groups, try_masks)
        worst = max(
            worst, difference(reference(zeroed, *inputs), _quick(small_apply)(small, *inputs))
        )
    return worst


def _quick(f: Callable[..., Any]) -> Callable[..., Any]:
    """Jitted with little optimisation: each is run once, and compiling is what takes time."""
    return jax.jit(f, compiler_options={"xla_backend_optimization_level": 0})


def difference(a: Any, b: Any) -> float:
    """The largest difference of two pytrees of arrays, relative to the largest number above 1."""

    def leaf(x: Any, y: Any) -> float:
        x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
        ok = np.isfinite(x)
        if not np.array_equal(ok, np.isfinite(y)) or (x.size and not ok.any()):
            return float("inf")
        scale = max(1.0, float(np.max(np.abs(x[ok]), initial=0)))
        return float(np.max(np.abs(x - y)[ok], initial=0)) / scale

    return max(jax.tree.leaves(jax.tree.map(leaf, a, b)), default=0.0)


def _random_mask(random: np.random.Generator, size: int) -> np.ndarray:
    """(size,) bool, one at least True and one False; a single unit may be either."""
    return random.permutation(size) < random.integers(size > 1, max(size, 2))


def _alive(groups: UnitGroups, masks: dict, variables: Any) -> dict:
    leaves = jax.tree_util.tree_flatten_with_path(variables)[0]
    return alive(groups, masks, {tree.path_name(path): np.shape(leaf) for path, leaf in leaves})


def _living(groups: UnitGroups, masks: dict, variables: Any) -> dict:
    """Masks without those that, together with the others, would leave nothing of a leaf's axis."""
    kept: dict = {}
    for name, mask in masks.items():
        trial = _alive(groups, {**kept, name: mask}, variables)
        if all(lives.any() for axes in trial.values() for lives in axes.values()):
            kept[name] = mask
    return kept


def _zeroed(variables: Any, living: dict) -> Any:
    """`weight_masks` applied, on the host."""

    def leaf(path: tuple, x: Any) -> Any:
        axes = living.get(tree.path_name(path), {})
        x = np.array(x) if axes else x
        for axis, lives in axes.items():
            np.moveaxis(x, axis, 0)[~lives] = 0
        return x

    return jax.tree.map_with_path(leaf, variables)


def _stirred(variables: Any, random: np.random.Generator) -> Any:
    """Leaves that hold one number throughout, made random; positive ones stay positive."""

    def stir(leaf: Any) -> Any:
        floating = jnp.issubdtype(jnp.result_type(leaf), jnp.floating)
        if not floating or np.size(leaf) < 2 or np.ptp(leaf) > 0:
            return leaf
        if np.ndim(leaf) < 2:
            noise = random.uniform(0.05, 0.5, leaf.shape)
        else:
            noise = random.normal(size=leaf.shape) / np.sqrt(leaf.size / leaf.shape[-1])
        return leaf + noise.astype(leaf.dtype)

    return jax.tree.map(stir, variables)
