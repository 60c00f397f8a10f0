"""Scores of units: what a neuron is worth, alive or dormant.

Each function takes the groups that `discover` found and gives a score like those of
`gpnas.masks.score`, with the same running statistics: they are shared by name. Its value is `{group
name: (size,) float32}`. The params in its context are the variables that were given to `discover`,
or only some of their collections (`{"params": …}`); the gradients have the same structure. What is
not there counts nothing.

What a unit owns is named by sides: "incoming" is all that makes it (a kernel's columns, bias,
scale), "outgoing" what reads it (the rows of the kernels behind it). A dormant unit has a gradient
only where its other side lives: its outgoing one if its incoming weights were kept.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from gpnas.errors import UserError
from gpnas.masks import MaskContext, tree
from gpnas.masks import score as scores
from gpnas.masks.score import Score, Statistic
from gpnas.masks.tree import wide
from gpnas.units._groups import UnitGroup, UnitGroups
from gpnas.units._indexing import SIDES, leaves, makers, take, total
from gpnas.units.graph._roles import SCALES

UnitValues = dict[str, jax.Array]
_COLLECTION = "params/"


def summed(groups: UnitGroups, values: Any, side: str = "all") -> UnitValues:
    """Sums over each unit of a value for every weight.

    An entry that belongs to a unit along two axes of a leaf counts once. Any score of weights
    becomes one of units by this.

    Args:
      groups: As `discover` finds them.
      values: A pytree of the structure of the variables, or of some of their collections.
      side: "incoming", "outgoing" or "all".

    Returns:
      `{group: (size,) float32}`.

    Raises:
      UserError: For another side, or a group of which no leaf is there.
    """
    found = leaves(values)
    return {group.name: total(group, found, side) for group in groups.groups}


def of_weights(groups: UnitGroups, score: Score, side: str = "all") -> Score:
    """Any score of `gpnas.masks.score`, summed over what a unit owns."""

    def value(kept: Mapping[str, Any], ctx: MaskContext) -> UnitValues:
        return summed(groups, score.value(kept, ctx), side)

    return _score(f"{score.name} of units", score.statistics, side, value)


def magnitude(groups: UnitGroups, side: str = "all") -> Score:
    """The L2 norm of what a unit owns; of its statistics, too, if the context has them.

    References:
      Li et al. 2017 (arXiv:1608.08710) for one side; Fang et al. 2023, DepGraph (2301.12900).
    """

    def value(kept: Mapping[str, Any], ctx: MaskContext) -> UnitValues:
        squares = summed(groups, jax.tree.map(lambda w: jnp.square(wide(w)), ctx.params), side)
        return {name: jnp.sqrt(jnp.maximum(square, 0)) for name, square in squares.items()}

    return _score("magnitude of units", {}, side, value)


def taylor(groups: UnitGroups, side: str = "all") -> Score:
    """|Σ w·g|, the first-order change of the loss if all of a unit's weights go at once.

    References:
      Molchanov et al. 2019 (arXiv:1906.10771), equation 8 without the square.
    """

    def value(kept: Mapping[str, Any], ctx: MaskContext) -> UnitValues:
        products = jax.tree.map(lambda w, g: wide(w) * wide(g), ctx.params, ctx.grads)
        return {name: jnp.abs(v) for name, v in summed(groups, products, side).items()}

    return _score("taylor of units", {}, side, value)


def removal_cost(
    groups: UnitGroups, decay: float = 0.9, batch_size: int = 1, side: str = "outgoing"
) -> Score:
    """U = |Σ ḡw| + ½ΣFw², what removing a living unit would add to the loss.

    The slope is summed before its absolute value is taken, since all the weights go at once. To
    cut what reads a unit is to remove it: with both sides the same change would count twice.

    Args:
      groups: As `discover` finds them.
      decay: Of the moving averages.
      batch_size: B in F = B·G₂.
      side: Whose weights to count.
    """
    curvature = scores.fisher(decay, batch_size)

    def value(kept: Mapping[str, Any], ctx: MaskContext) -> UnitValues:
        scale = 1 / scores.unbiased(decay, kept)
        means = kept[f"gradient@{decay}"]
        slopes = jax.tree.map(lambda w, g: scale * g * wide(w), ctx.params, means)
        bends = summed(groups, curvature.value(kept, ctx), side)
        return {name: jnp.abs(v) + bends[name] for name, v in summed(groups, slopes, side).items()}

    statistics = scores.mean_gradient(decay) | scores.mean_square(decay)
    return _score(f"U@{decay},{batch_size} of units", statistics, side, value)


def growth_gain(
    groups: UnitGroups,
    decay: float = 0.9,
    batch_size: int = 1,
    epsilon: float = 1e-8,
    denoise: bool = True,
    side: str = "outgoing",
) -> Score:
    """V = Σ [ḡ² − s²/n]₊ / 2(F + ε), the most that waking a dormant unit could take off the loss.

    Args:
      groups: As `discover` finds them.
      decay, batch_size, epsilon, denoise: As of `gpnas.masks.score.growth_gain`.
      side: Whose weights to count: those that are zero while the other side lives.
    """
    gain = scores.growth_gain(decay, batch_size, epsilon, denoise)
    return of_weights(groups, gain, side)


def per_cost(score: Score, costs: Mapping[str, Any]) -> Score:
    """A score of units per unit of cost, so that groups of different price compare.

    Args:
      score: The score to divide.
      costs: Cost of each unit (MACs, bytes, seconds) by path glob of the group: a number or
        (size,) numbers; 1 where no glob matches. A plain name may be of a group that is absent.

    Raises:
      ValueError: When evaluated, if a glob matches no group.
    """
    return scores.per_cost(score, costs)


def batch_norm_scale(groups: UnitGroups, where: tree.Filter = _COLLECTION + "*") -> Score:
    """Σ|γ|, the scales of a unit: those of its norms, and of its layer scales.

    Groups without any are left out.

    Args:
      groups: As `discover` finds them.
      where: Which leaves may be scales; the variance of a norm is none, though it scales.

    Raises:
      ValueError: When evaluated, if `where` is a glob that matches no leaf.

    References:
      Liu et al. 2017, network slimming (arXiv:1708.06519).
    """
    matches = tree.matcher(where)

    def value(kept: Mapping[str, Any], ctx: MaskContext) -> UnitValues:
        every = leaves(ctx.params)
        tree.check_globs("where", [where] if isinstance(where, str) else [], every)
        found = {p: jnp.abs(x) for p, x in every.items() if matches(p, x)}
        scales = [_only(group, SCALES) for group in groups.groups]
        return {
            group.name: total(group, found)
            for group in scales
            if any(m.path in found for m in group.members)
        }

    return _score("scale of units", {}, "all", value)


def fpgm(groups: UnitGroups) -> Score:
    """Σ_j ‖w_i − w_j‖: how far a unit's incoming kernels are from all the others' of its group.

    The lowest is the one nearest to the geometric median, which the others can stand in for.

    References:
      He et al. 2019 (arXiv:1811.00250), equation 6.
    """

    def value(kept: Mapping[str, Any], ctx: MaskContext) -> UnitValues:
        found = leaves(ctx.params)
        return {group.name: _distances(group, found) for group in groups.groups}

    return _score("fpgm", {}, "incoming", value)


def random(groups: UnitGroups) -> Score:
    """Uniform in [0, 1), new at every event, one key a group."""

    def value(kept: Mapping[str, Any], ctx: MaskContext) -> UnitValues:
        shapes = {group.name: jnp.zeros(group.size) for group in groups.groups}
        keys = tree.keys_for(ctx.key, shapes)
        return {name: jax.random.uniform(keys[name], x.shape) for name, x in shapes.items()}

    return _score("random units", {}, "all", value)


def of_neurons(
    groups: UnitGroups,
    variables: Any,
    neurons: Mapping[str, jax.Array],
    collection: str = _COLLECTION,
) -> UnitValues:
    """A value for each neuron of dense layers and convolutions, as one of units.

    The sensitivity of SeReNe is such a value: `gpnas.sensitivity.neurons.exact(forward, params)`
    and its bounds. A unit that several layers make (a residual stream), or several neurons of one
    layer, has the largest of theirs. Groups that no such layer makes are left out.

    Args:
      groups: As `discover` finds them.
      variables: What was given to `discover`, or its shapes.
      neurons: `{path of a kernel: (neurons,)}`, of its last axis.
      collection: What comes before such a path in the variables.

    Returns:
      `{group: (size,) float32}`.

    References:
      Tartaglione et al. 2021, SeReNe (arXiv:2102.03773).
    """
    found = {collection + path: value for path, value in neurons.items()}
    last = {path: len(leaf.shape) - 1 for path, leaf in leaves(variables).items()}

    def of(group: UnitGroup) -> list[jax.Array]:
        return [
            jnp.max(take(found[m.path], m._replace(axis=0), group.size).astype(jnp.float32), 1)
            for m in makers(group)
            if m.path in found and m.axis == last[m.path]
        ]

    parts = {group.name: of(group) for group in groups.groups}
    return {name: jnp.max(jnp.stack(part), 0) for name, part in parts.items() if part}


def _score(
    name: str,
    statistics: Mapping[str, Statistic],
    side: str,
    value: Callable[[Mapping[str, Any], MaskContext], UnitValues],
) -> Score:
    if side not in SIDES:
        raise UserError("side", side, ", ".join(SIDES))
    return Score(f"{name}, {side}", statistics, value)


def _only(group: UnitGroup, role: str) -> UnitGroup:
    return group._replace(members=tuple(m for m in group.members if m.role == role))


def _distances(group: UnitGroup, found: Mapping[str, jax.Array]) -> jax.Array:
    """(size,), sums of distances of all of a group's incoming kernels."""
    parts = [take(found[m.path], m, group.size) for m in makers(group) if m.path in found]
    if not parts:
        raise UserError("variables", ", ".join(found), f"kernels that make {group.name}")
    rows = jnp.concatenate([part.astype(jnp.float32) for part in parts], 1)
    return jax.lax.map(lambda row: jnp.sum(jnp.linalg.norm(rows - row[None], axis=1)), rows)
