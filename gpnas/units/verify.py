"""Verification: removes units at random, and compares with the function that was given."""

import zlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gpnas.masks import tree
from gpnas.units.group import UnitGroups, weight_masks
from gpnas.units.shrink import compact


def verify(
    apply_fn: Callable[..., Any],
    variables: Any,
    groups: UnitGroups,
    *inputs: Any,
    key: jax.Array,
) -> float:
    """Removes random units, of each group alone and of all together, and compares outputs.

    The reference is `apply_fn` itself, on variables of which the dead units' entries are zero.
    Leaves that hold one number throughout, as they are initialised, are first filled with random
    numbers: a scale of zero would hide everything behind it.

    Args:
      apply_fn, variables, groups: As for `discover`, and what it returned.
      *inputs: Arrays.
      key: Random key.

    Returns:
      The largest absolute difference, divided by the largest output where that is above 1; infinite
      where only one of the two outputs is finite.
    """
    variables = _stirred(variables, jax.random.fold_in(key, 0))
    trials = [(group,) for group in groups.groups]
    trials += [groups.groups] if len(trials) > 1 else []
    reference = _quick(apply_fn)
    worst = 0.0
    for number, trial in enumerate(trials):
        masks = {}
        for group in trial:
            name = zlib.crc32(group.name.encode())
            own = jax.random.fold_in(jax.random.fold_in(key, number + 1), name)
            masks[group.name] = _random_mask(own, group.size)
        try_masks = _living(groups, masks, variables)
        zeroed = tree.apply(weight_masks(groups, try_masks, variables), variables)
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
        if not np.array_equal(np.isfinite(x), np.isfinite(y)):
            return float("inf")
        ok = np.isfinite(x)
        scale = max(1.0, float(np.max(np.abs(x[ok]), initial=0)))
        return float(np.max(np.abs(x - y)[ok], initial=0)) / scale

    return max(jax.tree.leaves(jax.tree.map(leaf, a, b)), default=0.0)


def _random_mask(key: jax.Array, size: int) -> np.ndarray:
    """(size,) bool, about half of them True, one at least True and one False."""
    order = np.asarray(jax.random.permutation(key, size))
    count = int(jax.random.randint(jax.random.fold_in(key, 1), (), 1, max(size, 2)))
    return order < count


def _living(groups: UnitGroups, masks: dict, variables: Any) -> dict:
    """Masks without those that, together with the others, would leave nothing of a leaf's axis."""
    kept: dict = {}
    for name, mask in masks.items():
        trial = weight_masks(groups, {**kept, name: mask}, variables)
        if all(bool(jnp.any(leaf)) for leaf in jax.tree.leaves(trial)):
            kept[name] = mask
    return kept


def _stirred(variables: Any, key: jax.Array) -> Any:
    """Leaves that hold one number throughout, made random; positive ones stay positive."""
    leaves, structure = jax.tree.flatten(variables)

    def stir(i: int, leaf: Any) -> Any:
        floating = jnp.issubdtype(jnp.result_type(leaf), jnp.floating)
        if not floating or jnp.size(leaf) < 2 or not bool(jnp.all(leaf == jnp.ravel(leaf)[0])):
            return leaf
        own = jax.random.fold_in(key, i)
        if leaf.ndim < 2:
            return leaf + jax.random.uniform(own, leaf.shape, leaf.dtype, 0.05, 0.5)
        fan_in = leaf.size // leaf.shape[-1]
        return leaf + jax.random.normal(own, leaf.shape, leaf.dtype) / np.sqrt(fan_in)

    return jax.tree.unflatten(structure, [stir(i, leaf) for i, leaf in enumerate(leaves)])
