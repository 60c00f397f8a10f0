"""Plasticity: grows and prunes weights at mask updates. Most methods are settings of it."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gpnas.masks import score as scores
from gpnas.masks._by_cost import divided_by_cost, mask_cost, selection
from gpnas.masks._leaves import masked_leaves, update_leaves
from gpnas.masks._transform import MaskContext, Masks, MaskTransform, between
from gpnas.masks._transform import every as every_
from gpnas.masks.allocate import Allocation, Group, erk
from gpnas.masks.budget import Budget, Candidates, track_density
from gpnas.masks.finite import Skips, cond_finite, no_skips
from gpnas.masks.schedule import Schedule, check_densities, check_schedule, constant
from gpnas.masks.select import Select
from gpnas.masks.tree import Leaves, total

_Costs = Mapping[str, int]  # cost of one weight by path; empty if each counts as one


class PlasticityState(NamedTuple):
    """State of `plasticity`.

    Attributes:
      statistics: Running statistics of the scores, by name, each `{path: array}`.
      nan_scores: () int32, number of NaN scores so far; they are never selected.
      skips: Steps whose gradients were not finite.
    """

    statistics: dict[str, Leaves]
    nan_scores: jax.Array
    skips: Skips


def plasticity(
    *,
    drop: scores.Score,
    grow: scores.Score,
    density: Schedule,
    churn: Schedule | None = None,
    allocation: Allocation = erk(),
    every: int = 100,
    start: int = 1,
    stop: int | None = None,
    budget: Budget | None = None,
    select: Select | None = None,
    seed_score: scores.Score = scores.random(),
    seed_allocation: Allocation | None = None,
    regrow: bool = True,
    lookahead: int = 0,
    window: int | None = None,
) -> MaskTransform:
    """Grows and prunes weights at mask updates: score → allocate → count → select.

    Args:
      drop: Score of active weights; the lowest are pruned.
      grow: Score of inactive weights; the highest are grown.
      density: Target density at a step (of weights, or of cost if the allocation has a budget in
        cost; numbers of weights below are then costs).
      churn: ρ(step), exchanged fraction of the active weights, by default 0; see
        `budget.track_density`.
      allocation: Splits the target over leaves, or lets them compete (`allocate.global_`).
      every: Steps between mask updates.
      start: First step at which masks may be updated; with 1, the first step uses the masks of
        `init`.
      stop: Step from which masks are no longer updated; None for no end.
      budget: Numbers of weights to grow and prune, instead of `budget.track_density(churn)`.
      select: A structured selection among competing leaves, without costs, that respects k:
        `blocks`, not `n_of_m`; None: exactly the k highest scores.
      seed_score: Score of the initial masks; it must not use gradients, which are not known yet.
      seed_allocation: Splits the density at step 0; by default `allocation`.
      regrow: Whether weights that an update prunes may be grown in the same update, as in RigL.
      lookahead: Steps; an update at step t aims at the density at t + lookahead.
      window: Statistics are updated only in the last `window` steps before a mask update; only
        these steps need a dense gradient. None: at every step. Averages continue from one window
        to the next.

    Returns:
      The mask transform, with a `PlasticityState`.

    Raises:
      ValueError: If a score is none, `every` or `window` is below 1, a density is not in [0, 1]
        (see `schedule.check_densities`), or both `churn` and `budget` are given; on init, if a
        structured selection is used with `allocate.by_total_cost`, or if `seed_score` uses
        gradients; on update, if scores have other paths or shapes than the weights.
    """
    for field, one in (("drop", drop), ("grow", grow), ("seed_score", seed_score)):
        if not isinstance(one, scores.Score):
            raise ValueError(f"{field}: got {one!r}, allowed: a score, such as score.magnitude()")
    check_densities(density)
    if budget is None:
        churn = constant(0.0) if churn is None else churn
        check_schedule("churn", churn)
        budget = track_density(churn)
    elif churn is not None:
        raise ValueError("churn: got a schedule and a budget, allowed: one of them")
    rule = _Rule(drop, grow, allocation, density, budget, select, regrow, lookahead)
    first = seed_allocation or allocation

    def init_fn(masks: Masks, params: Any, key: jax.Array) -> tuple[Masks, PlasticityState]:
        active, weights = masked_leaves(masks), masked_leaves(masks, params)
        shapes = {path: leaf.shape for path, leaf in active.items()}
        seeds = _seeds(seed_score, weights, key)
        targets = first(shapes, density(jnp.int32(0)))
        active = _first(targets, select, first.weight_costs(shapes), active, seeds, key)
        statistics = scores.init_statistics((drop, grow), weights)
        return update_leaves(masks, active), PlasticityState(statistics, jnp.int32(0), no_skips())

    def update_fn(
        masks: Masks, state: PlasticityState, ctx: MaskContext
    ) -> tuple[Masks, PlasticityState]:
        own = ctx.of_masked(masks)
        kept, seen = scores.observe_before((drop, grow), state.statistics, own, every, window)

        def at_update(x: tuple[Masks, PlasticityState]) -> tuple[Masks, PlasticityState]:
            active = masked_leaves(x[0])  # in natural order: loops reorder dicts
            active, new = _update_masks(rule, active, x[1]._replace(statistics=kept), own)
            return update_leaves(x[0], active), new._replace(statistics={})

        before = (masks, state._replace(statistics={}, skips=no_skips()))
        due = ctx.may_update
        (masks, after), skips = cond_finite(due, at_update, before, state.skips, own.grads, seen)
        return masks, after._replace(statistics=kept, skips=skips)

    may_observe = scores.observed((drop, grow), every, window)
    transform = MaskTransform(init_fn, update_fn, may_observe=may_observe)
    return every_(between(transform, start, stop), every)


def _seeds(score: scores.Score, weights: Leaves, key: jax.Array) -> Leaves:
    """Returns the scores of initial weights; raises ValueError if they need gradients."""
    ctx = MaskContext(step=jnp.int32(0), params=weights, grads={}, key=key)
    allowed = f"seed_score: got {score.name}, allowed: a score that uses no gradients"
    try:
        return dict(_values(score, {}, ctx))
    except (KeyError, ValueError) as error:  # neither gradients nor statistics are known yet
        raise ValueError(f"{allowed} ({error})") from error


def _values(score: scores.Score, statistics: Any, ctx: MaskContext) -> Leaves:
    """Returns the scores of weights; raises ValueError if their paths or shapes are others."""
    found = score.value(statistics, ctx)
    shapes = {path: leaf.shape for path, leaf in ctx.params.items()}
    given = jax.tree.map(jnp.shape, found)
    if given != shapes:
        raise ValueError(f"score {score.name}: got shapes {given}, allowed: {shapes}")
    return found


def _first(
    targets: Mapping[Group, jax.Array],
    select: Select | None,
    costs: _Costs,
    active: Leaves,
    seeds: Leaves,
    key: jax.Array,
) -> Leaves:
    """Returns the initial masks: the highest seed scores of each group among masked weights."""
    wanted = {
        group: (k, jax.random.fold_in(key, i)) for i, (group, k) in enumerate(targets.items())
    }
    return active | selection(select, costs)(wanted, divided_by_cost(seeds, costs), active)


class _Rule(NamedTuple):
    """Settings of a mask update; fields as the arguments of `plasticity`."""

    drop: scores.Score
    grow: scores.Score
    allocation: Allocation
    density: Schedule
    budget: Budget
    select: Select | None
    regrow: bool
    lookahead: int


def _update_masks(
    rule: _Rule, active: Leaves, state: PlasticityState, ctx: MaskContext
) -> tuple[Leaves, PlasticityState]:
    """Performs one mask update: score → allocate → count → select."""
    drop, grow = (_values(score, state.statistics, ctx) for score in (rule.drop, rule.grow))
    nan = total(map(jnp.isnan, (*drop.values(), *grow.values())))
    shapes = {p: m.shape for p, m in active.items()}
    costs = rule.allocation.weight_costs(shapes)
    targets = rule.allocation(shapes, rule.density(ctx.step + rule.lookahead))
    drop, grow = divided_by_cost(drop, costs), divided_by_cost(grow, costs)
    after = _exchange(rule, targets, costs, active, drop, grow, ctx)
    return after, state._replace(nan_scores=state.nan_scores + nan)


def _exchange(
    rule: _Rule,
    targets: Mapping[Group, jax.Array],
    costs: _Costs,
    active: Leaves,
    drop: Leaves,
    grow: Leaves,
    ctx: MaskContext,
) -> Leaves:
    """Returns (active ∧ ¬pruned) ∨ grown, with the counts of each group."""
    select = selection(rule.select, costs)
    inactive = {p: ~m for p, m in active.items()}
    keys = [jax.random.split(jax.random.fold_in(ctx.key, i)) for i in range(len(targets))]
    to_grow: dict[Group, tuple] = {}  # k and key of each group
    to_prune: dict[Group, tuple] = {}
    for (paths, target), (drop_key, grow_key) in zip(targets.items(), keys, strict=True):
        cost = mask_cost(_pick(active, paths), costs)
        growable = mask_cost(_pick(inactive, paths), costs) + (cost if rule.regrow else 0)
        counts = rule.budget(Candidates(ctx.step, cost, target, growable))
        to_prune[paths], to_grow[paths] = (counts.prune, drop_key), (counts.grow, grow_key)
    pruned = select(to_prune, {p: -s for p, s in drop.items()}, active, over=True)
    may_grow = {p: inactive[p] | m for p, m in pruned.items()} if rule.regrow else inactive
    if costs:  # the last pruned weight may exceed the cost to prune
        for paths, (k, key) in to_grow.items():
            excess = jnp.maximum(mask_cost(_pick(pruned, paths), costs) - to_prune[paths][0], 0)
            to_grow[paths] = k + jnp.where(k > 0, excess, 0), key
    grown = select(to_grow, grow, may_grow)
    return active | {p: (active[p] & ~pruned[p]) | m for p, m in grown.items()}


def _pick(leaves: Mapping[str, jax.Array], group: Group) -> Leaves:
    return {path: leaves[path] for path in group}
