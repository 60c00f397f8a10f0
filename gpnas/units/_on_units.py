"""Any mask transform on units: neurons grow and are pruned by the same rules as synapses."""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gpnas.masks import MaskContext, MaskTransform, full
from gpnas.masks import score as scores
from gpnas.masks.finite import Skips, are_finite, no_skips
from gpnas.masks.score import Score
from gpnas.masks.transform import sometimes
from gpnas.units._groups import UnitGroup, UnitGroups, weight_masks
from gpnas.units._indexing import leaves
from gpnas.units.graph._roles import READERS


class UnitsState(NamedTuple):
    """What development by units remembers.

    Attributes:
      units: `{group: (size,) bool}`, which units live.
      statistics: Running statistics of the scores.
      inner: State of the transform that decides.
      skips: Steps whose gradients were not finite.
    """

    units: dict[str, jax.Array]
    statistics: dict[str, Any]
    inner: Any
    skips: Skips


def of_units(
    transform: MaskTransform,
    groups: UnitGroups,
    worth: Score,
    gain: Score,
    every: int = 1,
    window: int | None = None,
) -> MaskTransform:
    """Lets a mask transform decide about units instead of weights.

    The transform sees one leaf a group, of shape (size,): as its masks the unit masks, as its
    params the worth of the units, and as its gradients the gain that they would bring. So
    `plasticity(drop=score.magnitude(), grow=score.gradient(), …)` drops the units of least worth
    and grows those of most gain, and its schedules, protection and survival are those of units.

    A unit is dormant while nothing reads it: its readers' weights are zero, its own weights stay
    and are not trained (see `readers`). So the gradient of its readers' weights tells its gain.

    Args:
      transform: What decides.
      groups: Units of the params (`of_params`), none of which is summed over.
      worth: A score of living units (`gpnas.units.score`), at least 0.
      gain: A score of dormant units, at least 0.
      every, window: Look at the gradient in the last `window` steps of every `every` only; None
        for all.

    Returns:
      A transform with a `UnitsState`. Its masks are those of `weight_masks` on weights; biases and
      scales of dormant units are left alone, as nothing reads them.
    """
    judges = (worth, gain)
    readers = [(m.path, m.axis) for g in groups.groups for m in g.members if m.role in READERS]

    def read(params: Any) -> dict[str, jax.Array]:
        found = leaves(params)
        return {path: found[path] for path, _ in readers}

    def masks_of(units: Mapping[str, jax.Array], params: Any) -> Any:
        weights = full(params)
        masks = weight_masks(groups, units, params, weights)
        return jax.tree.map(lambda m, w: m if jnp.ndim(w) else w, masks, weights)

    def init_fn(masks: Any, params: Any, key: jax.Array) -> tuple[Any, UnitsState]:
        del masks
        whole = {g.name: jnp.ones(g.size, bool) for g in groups.groups}
        sizes = {g.name: jnp.ones(g.size) for g in groups.groups}
        units, inner = transform.init(whole, sizes, key)
        statistics = scores.start(judges, read(params))
        return masks_of(units, params), UnitsState(units, statistics, inner, no_skips())

    def update_fn(masks: Any, state: UnitsState, ctx: MaskContext) -> tuple[Any, UnitsState]:
        own = dataclasses.replace(ctx, params=read(ctx.params), grads=read(ctx.grads))
        kept, seen = scores.observe_before(judges, state.statistics, own, every, window)

        def event(x: tuple[Any, Any]) -> tuple[Any, Any]:
            fine = are_finite(own.grads)  # else the transform must not take the gains for finite
            gains = jax.tree.map(lambda g: jnp.where(fine, g, jnp.nan), gain.value(kept, own))
            judged = dataclasses.replace(own, params=worth.value(kept, own), grads=gains)
            return transform.update(*x, judged)

        units, inner = sometimes(ctx.event, event, (state.units, state.inner))
        new = masks if ctx.event is False else masks_of(units, ctx.params)
        return new, UnitsState(units, kept, inner, state.skips.after(seen))

    return MaskTransform(init_fn, update_fn, transform.may_change)


def readers(groups: UnitGroups, unit_masks: Mapping[str, jax.Array], params: Any) -> Any:
    """Masks of the weights that read living units; True where nothing is read.

    Zeroing what they mask silences dormant units and leaves their own weights as they are: the
    function is that of `weight_masks`, as long as no group is `summed`.

    Args:
      groups: Units of the params.
      unit_masks: `{group: (size,) bool}`; may be traced.
      params: Parameters, or shapes of their structure.

    Returns:
      Bool, of the structure of `params`.
    """
    reading = tuple(
        g._replace(members=tuple(m for m in g.members if m.role in READERS)) for g in groups.groups
    )
    return weight_masks(UnitGroups(reading, ()), unit_masks, params)


def of_params(groups: UnitGroups, collection: str = "params") -> UnitGroups:
    """Groups as they lie in one collection of the variables; those that are summed over left out.

    Args:
      groups: As `discover` finds them on all the variables of a Flax module.
      collection: Its name.

    Returns:
      Groups of the same names, whose members' paths begin inside the collection.
    """
    within = f"{collection}/"

    def own(group: UnitGroup) -> UnitGroup:
        members = (m for m in group.members if m.path.startswith(within))
        return group._replace(
            members=tuple(m._replace(path=m.path.removeprefix(within)) for m in members)
        )

    return UnitGroups(tuple(own(g) for g in groups.groups if not g.summed), ())
