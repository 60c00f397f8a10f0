"""Scores of units, active or inactive.

Each function takes the groups found by `discover` and returns a score as those of
`gpnas.masks.score`, with the same running statistics, shared by name. Its value is `{group name:
(size,) float32}`. The params in its context are the variables given to `discover`, or some of their
collections (`{"params": …}`); the gradients have the same structure. Missing leaves count as zero.

Sides select the entries of a unit. "incoming" entries produce the unit (columns of kernels, biases,
scales); "outgoing" entries consume it (rows of the following kernels). An inactive unit has
gradients on one side only if its other side is nonzero: outgoing ones if its incoming weights were
kept.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from gpnas.errors import UserError, check_choice
from gpnas.masks import MaskContext, tree
from gpnas.masks import score as scores
from gpnas.units._groups import UnitGroup, UnitGroups
from gpnas.units._indexing import SIDES, producers, sum_owned, take_units
from gpnas.units.graph import SCALES

__all__ = [
    "batch_norm_scale", "fpgm", "growth_gain", "magnitude", "of_neurons", "of_weights",
    "random", "removal_cost", "sum_per_unit", "taylor",
]  # fmt: skip

#: `{group: (size,) float32}`.
UnitValues = dict[str, jax.Array]
_COLLECTION = "params/"


def sum_per_unit(groups: UnitGroups, values: Any, side: str = "all") -> UnitValues:
    """Sums a value per weight over the entries of each unit.

    An entry that belongs to a unit along two axes of a leaf counts once. This turns any score of
    weights into a score of units.

    Args:
      groups: Groups found by `discover`.
      values: A pytree with the structure of the variables, or of some of their collections.
      side: "incoming", "outgoing" or "all".

    Returns:
      `{group: (size,) float32}`.

    Raises:
      UserError: For an unknown side, or a group none of whose leaves is present.
    """
    found = tree.leaves_by_path(values)
    return {group.name: sum_owned(group, found, side) for group in groups.groups}


def of_weights(groups: UnitGroups, score: scores.Score, side: str = "all") -> scores.Score:
    """Sums any score of `gpnas.masks.score` over the entries of each unit.

    Args:
      groups: Unit groups of the params.
      score: A score of weights.
      side: Which entries of a unit: "all", "incoming" or "outgoing".

    Raises:
      UserError: For an unknown side; (on use) if none of a group's leaves is present.
    """

    def value(kept: Mapping[str, Any], ctx: MaskContext) -> UnitValues:
        return sum_per_unit(groups, score.value(kept, ctx), side)

    return _score(f"{score.name} of units", score.statistics, side, value)


def magnitude(groups: UnitGroups, side: str = "all") -> scores.Score:
    """Computes the L2 norm of a unit's entries, including statistics if the context has them.

    Args:
      groups: Unit groups of the params.
      side: Which entries of a unit: "all", "incoming" or "outgoing".

    Raises:
      UserError: As `of_weights`.

    References:
      Li et al. 2017 (arXiv:1608.08710) for one side; Fang et al. 2023, DepGraph (arXiv:2301.12900).
    """

    def value(kept: Mapping[str, Any], ctx: MaskContext) -> UnitValues:
        squares = sum_per_unit(
            groups, jax.tree.map(lambda w: jnp.square(tree.wide(w)), ctx.params), side
        )
        return {name: jnp.sqrt(jnp.maximum(square, 0)) for name, square in squares.items()}

    return _score("magnitude of units", {}, side, value)


def taylor(groups: UnitGroups, side: str = "all") -> scores.Score:
    """Computes `|Σ w·g|`, the first-order change of the loss when a unit's weights are removed.

    Args:
      groups: Unit groups of the params.
      side: Which entries of a unit: "all", "incoming" or "outgoing".

    Raises:
      UserError: As `of_weights`.

    References:
      Molchanov et al. 2019 (arXiv:1906.10771), equation 8 without the square.
    """

    def value(kept: Mapping[str, Any], ctx: MaskContext) -> UnitValues:
        products = jax.tree.map(lambda w, g: tree.wide(w) * tree.wide(g), ctx.params, ctx.grads)
        return {name: jnp.abs(v) for name, v in sum_per_unit(groups, products, side).items()}

    return _score("taylor of units", {}, side, value)


def removal_cost(groups: UnitGroups, decay: float = 0.9, batch_size: int = 1) -> scores.Score:
    """Estimates the increase of the loss when a unit is removed: `U = |Σ ḡw| + ½ΣFw²`.

    Slopes are summed before taking the absolute value, since all weights are removed together. Only
    outgoing weights count: zeroing them removes the unit, so both sides would count the change
    twice.

    Args:
      groups: Groups found by `discover`.
      decay: Decay of the moving averages.
      batch_size: B in F = B·G₂.
    """
    curvature = scores.fisher(decay, batch_size)

    def value(kept: Mapping[str, Any], ctx: MaskContext) -> UnitValues:
        scale = 1 / scores.bias_correction(decay, kept)
        means = kept[f"gradient@{decay}"]
        slopes = jax.tree.map(lambda w, g: scale * g * tree.wide(w), ctx.params, means)
        curvatures = sum_per_unit(groups, curvature.value(kept, ctx), "outgoing")
        return {
            name: jnp.abs(v) + curvatures[name]
            for name, v in sum_per_unit(groups, slopes, "outgoing").items()
        }

    statistics = scores.mean_gradient(decay) | scores.mean_square(decay)
    return _score(f"U@{decay},{batch_size} of units", statistics, "outgoing", value)


def growth_gain(
    groups: UnitGroups,
    decay: float = 0.9,
    batch_size: int = 1,
    epsilon: float = 1e-8,
) -> scores.Score:
    """Estimates the decrease of the loss when a unit is grown: V = Σ ḡ² / (2(F + ε)).

    Only outgoing weights count: they are zero in an inactive unit, while its incoming ones are
    kept.

    Args:
      groups: Groups found by `discover`.
      decay, batch_size, epsilon: As for `gpnas.masks.score.growth_gain`.
    """
    gain = scores.growth_gain(decay, batch_size, epsilon)
    return of_weights(groups, gain, "outgoing")


def batch_norm_scale(groups: UnitGroups, where: tree.Filter = _COLLECTION + "*") -> scores.Score:
    """Sums `|γ|` over the scales of a unit: those of its norms, and layer scales.

    Groups without scales are omitted.

    Args:
      groups: Groups found by `discover`.
      where: Which leaves count as scales; the variance of a norm does not.

    Raises:
      ValueError: When evaluated, if `where` is a glob that matches no leaf.

    References:
      Liu et al. 2017, network slimming (arXiv:1708.06519).
    """
    matches = tree.matcher(where)

    def value(kept: Mapping[str, Any], ctx: MaskContext) -> UnitValues:
        every = tree.leaves_by_path(ctx.params)
        tree.check_globs("where", [where] if isinstance(where, str) else [], every)
        found = {p: jnp.abs(x) for p, x in every.items() if matches(p, x)}
        scales = [group.with_roles(SCALES) for group in groups.groups]
        return {
            group.name: sum_owned(group, found)
            for group in scales
            if any(m.path in found for m in group.members)
        }

    return _score("scale of units", {}, "all", value)


def fpgm(groups: UnitGroups) -> scores.Score:
    """Sums the distances of a unit's incoming kernels to those of its group: Σ_j ‖w_i − w_j‖.

    The unit of lowest score is nearest to the geometric median, and is replaceable by the others.

    Args:
      groups: Unit groups of the params.

    Raises:
      UserError: (on use) If no kernel that produces a group is present.

    References:
      He et al. 2019 (arXiv:1811.00250), equation 6.
    """

    def value(kept: Mapping[str, Any], ctx: MaskContext) -> UnitValues:
        found = tree.leaves_by_path(ctx.params)
        return {group.name: _distances(group, found) for group in groups.groups}

    return _score("fpgm", {}, "incoming", value)


def random(groups: UnitGroups) -> scores.Score:
    """Draws uniform scores in [0, 1) at every mask update, with a key per group.

    Args:
      groups: Unit groups of the params.
    """

    def value(kept: Mapping[str, Any], ctx: MaskContext) -> UnitValues:
        shapes = {group.name: jnp.zeros(group.size) for group in groups.groups}
        keys = tree.keys_for(ctx.key, shapes)
        return {name: jax.random.uniform(keys[name], x.shape) for name, x in shapes.items()}

    return scores.Score("random units", {}, value)


def of_neurons(groups: UnitGroups, variables: Any, neurons: Mapping[str, jax.Array]) -> UnitValues:
    """Converts a value per neuron of dense layers and convolutions to a value per unit.

    The sensitivity of SeReNe is such a value: `gpnas.sensitivity.neurons.exact(forward, params)`
    and its bounds. A unit that is produced by several layers (a residual stream) or by several
    neurons of one layer gets the largest value. Groups that no such layer produces are omitted.

    Args:
      groups: Groups found by `discover`.
      variables: The variables given to `discover`, or shapes.
      neurons: `{path of a kernel in "params": (neurons,)}`, along its last axis.

    Returns:
      `{group: (size,) float32}`.

    References:
      Tartaglione et al. 2021, SeReNe (arXiv:2102.03773).
    """
    found = {_COLLECTION + path: value for path, value in neurons.items()}
    last = {path: len(leaf.shape) - 1 for path, leaf in tree.leaves_by_path(variables).items()}

    def of(group: UnitGroup) -> list[jax.Array]:
        return [
            jnp.max(
                take_units(found[m.path], m._replace(axis=0), group.size).astype(jnp.float32), 1
            )
            for m in producers(group)
            if m.path in found and m.axis == last[m.path]
        ]

    parts = {group.name: of(group) for group in groups.groups}
    return {name: jnp.max(jnp.stack(part), 0) for name, part in parts.items() if part}


def _score(
    name: str,
    statistics: Mapping[str, scores.Statistic],
    side: str,
    value: Callable[[Mapping[str, Any], MaskContext], UnitValues],
) -> scores.Score:
    check_choice("side", side, SIDES)
    return scores.Score(f"{name}, {side}", statistics, value, side)


def _distances(group: UnitGroup, found: Mapping[str, jax.Array]) -> jax.Array:
    """Sums distances between the incoming kernels of a group; (size,)."""
    parts = [take_units(found[m.path], m, group.size) for m in producers(group) if m.path in found]
    if not parts:
        raise UserError("variables", ", ".join(found), f"kernels that produce {group.name}")
    rows = jnp.concatenate([part.astype(jnp.float32) for part in parts], 1)
    return jax.lax.map(lambda row: jnp.sum(jnp.linalg.norm(rows - row[None], axis=1)), rows)
