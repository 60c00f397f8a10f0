"""Mask transforms on units instead of weights."""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gpnas.masks import MaskContext, MaskTransform, cond_inplace, finite, init_masks, tree
from gpnas.masks import score as scores
from gpnas.units import score as scores_of_units
from gpnas.units._groups import UnitGroup, UnitGroups, weight_masks
from gpnas.units.graph import CONSUMING


class UnitsState(NamedTuple):
    """State of `on_units`.

    Attributes:
      units: `{group: (size,) bool}`, the unit masks.
      statistics: Running statistics of the scores.
      inner: State of the inner transform.
      skips: Counters of steps with non-finite gradients.
    """

    units: dict[str, jax.Array]
    statistics: dict[str, Any]
    inner: Any
    skips: finite.Skips


def on_units(
    transform: MaskTransform,
    groups: UnitGroups,
    drop: scores.Score,
    grow: scores.Score,
    every: int = 1,
    window: int | None = None,
) -> MaskTransform:
    """Applies a mask transform to units instead of weights.

    The inner transform receives one leaf of shape (size,) per group: the unit masks as its masks,
    `drop` as its params, and `grow` as its gradients. So `plasticity(drop=score.magnitude(),
    grow=score.gradient(), …)` prunes the units of lowest `drop` and grows those of highest `grow`;
    its schedules apply to units. Its `init` receives the summed magnitude of each unit's outgoing
    weights as params.

    The masks it returns are those of updates: weights of an inactive unit are not trained. The
    params must have `outgoing_masks` applied instead, which keep the unit's own weights, so that
    its outgoing weights have gradients, from which `grow` is computed. `make_step` does both by the
    fields `zero_mask` and `update_mask` of a method; `sparsify` cannot.

    Args:
      transform: The inner transform.
      groups: Units of the params (`groups_in_params`), none of which is summed over.
      drop: A score of active units (`gpnas.units.score`), at least 0. It receives outgoing weights
        only.
      grow: A score of inactive units, at least 0, likewise.
      every, window: Update statistics only in the last `window` of every `every` steps; in all
        steps if None.

    Returns:
      A transform whose state is a `UnitsState`. Its masks are those of `weight_masks` on weights;
      biases and scales of inactive units are not masked.

    Raises:
      ValueError: For a score that reads other entries of units, or if `every` or `window` is
        below 1.
    """
    both = (drop, grow)
    for one in both:
        if one.side not in ("", "outgoing"):
            allowed = 'scores of side="outgoing", the weights that it receives'
            raise ValueError(f"on_units: got {one.name}, allowed: {allowed}")
    outgoing = {m.path for g in groups.groups for m in g.members if m.role in CONSUMING}

    def outgoing_weights(params: Any) -> dict[str, jax.Array]:
        return {path: x for path, x in tree.leaves_by_path(params).items() if path in outgoing}

    def init_fn(masks: Any, params: Any, key: jax.Array) -> tuple[Any, UnitsState]:
        del masks
        sums = scores_of_units.sum_per_unit(groups, jax.tree.map(jnp.abs, params), "outgoing")
        ones = {g.name: jnp.ones(g.size, bool) for g in groups.groups}
        units, inner = transform.init(ones, sums, key)
        statistics = scores.init_statistics(both, outgoing_weights(params))
        state = UnitsState(units, statistics, inner, finite.no_skips())
        return _masks_of_weights(groups, units, params), state

    def update_fn(masks: Any, state: UnitsState, ctx: MaskContext) -> tuple[Any, UnitsState]:
        weights, grads = outgoing_weights(ctx.params), outgoing_weights(ctx.grads)
        own = dataclasses.replace(ctx, params=weights, grads=grads)
        kept, seen = scores.observe_before(both, state.statistics, own, every, window)

        def at_update(x: tuple[Any, Any]) -> tuple[Any, Any]:
            fine = finite.are_finite(own.grads)  # if not, the inner transform must see it
            gains = jax.tree.map(lambda g: jnp.where(fine, g, jnp.nan), grow.value(kept, own))
            scored = dataclasses.replace(own, params=drop.value(kept, own), grads=gains)
            return transform.update(*x, scored)

        units, inner = cond_inplace(ctx.may_update, at_update, (state.units, state.inner))
        new = masks if ctx.may_update is False else _masks_of_weights(groups, units, ctx.params)
        return new, UnitsState(units, kept, inner, state.skips.after(seen))

    observe = scores.observed(both, every, window)
    return MaskTransform(init_fn, update_fn, transform.may_change, observe)


def _masks_of_weights(groups: UnitGroups, units: Mapping[str, jax.Array], params: Any) -> Any:
    """Converts unit masks to masks of weights; biases and scales are not masked."""
    weights = init_masks(params)
    masks = weight_masks(groups, units, params, weights)
    return jax.tree.map(lambda m, w: m if jnp.ndim(w) else w, masks, weights)


def outgoing_masks(groups: UnitGroups, unit_masks: Mapping[str, jax.Array], params: Any) -> Any:
    """Returns masks of outgoing weights: False for those of inactive units, True elsewhere.

    Applying them removes inactive units from the function and keeps their incoming weights. The
    outputs are those with `weight_masks`, unless a group is `summed`.

    Args:
      groups: Units of the params.
      unit_masks: `{group: (size,) bool}`; may be traced.
      params: Parameters, or shapes of their structure.

    Returns:
      A pytree of bool with the structure of `params`.
    """
    outgoing = tuple(g.with_roles(*CONSUMING) for g in groups.groups)
    return weight_masks(UnitGroups(outgoing, ()), unit_masks, params)


def groups_in_params(groups: UnitGroups) -> UnitGroups:
    """Restricts groups to the collection "params" and omits those that are summed over.

    Args:
      groups: Groups found by `discover` in all variables of a Flax module.

    Returns:
      Groups of the same names, with paths inside the collection.
    """
    within = "params/"

    def own(group: UnitGroup) -> UnitGroup:
        members = (m for m in group.members if m.path.startswith(within))
        return group._replace(
            members=tuple(m._replace(path=m.path.removeprefix(within)) for m in members)
        )

    return UnitGroups(tuple(own(g) for g in groups.groups if not g.summed), ())
