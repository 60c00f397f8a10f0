"""Plasticity: the transform that grows and prunes weights; most methods are settings of it."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gpnas.masks import score as scores
from gpnas.masks._by_cost import cost_of, per_cost, selection
from gpnas.masks._leaves import masked_leaves, update_leaves
from gpnas.masks._transform import MaskContext, Masks, MaskTransform, between
from gpnas.masks._transform import every as every_
from gpnas.masks.allocate import Allocation, Group, Shapes, erk, weight_costs
from gpnas.masks.budget import Budget, Candidates, track_density
from gpnas.masks.finite import Skips, cond_finite, no_skips
from gpnas.masks.schedule import Schedule, check_densities, constant, staggered
from gpnas.masks.select import Select, exact_top_k
from gpnas.masks.tree import natural_order, total

Leaves = dict[str, jax.Array]
_Targets = Callable[[Shapes, jax.Array], dict[Group, jax.Array]]
_Costs = Mapping[str, int]  # of one weight by path; empty where each counts one
_LONG_AGO = -(2**30)


class PlasticityState(NamedTuple):
    """State of `plasticity`.

    Attributes:
      statistics: Running statistics of the scores, by name, each `{path: array}`.
      changed: `{path: int32 array}`, step at which a weight was last grown or pruned, far in the
        past for weights that never changed; empty where no setting needs it.
      survived, died: `{path: () float32}`, grown weights that reached the survival age, and that
        were pruned before.
      price: `{group: () float32}`, λ of `budget.dual_price`.
      nan_scores: () int32, number of NaN scores so far; they are never selected.
      skips: Steps whose gradients were not finite.
    """

    statistics: dict[str, Leaves]
    changed: Leaves
    survived: dict[str, jax.Array]
    died: dict[str, jax.Array]
    price: dict[str, jax.Array]
    nan_scores: jax.Array
    skips: Skips


def plasticity(
    *,
    drop: scores.Score,
    grow: scores.Score,
    density: Schedule,
    churn: Schedule = constant(0.0),
    allocation: Allocation = erk(),
    every: int = 100,
    start: int = 1,
    stop: int | None = None,
    budget: Budget | None = None,
    select: Select = exact_top_k,
    seed_score: scores.Score = scores.random(),
    seed_allocation: Allocation | None = None,
    protect: int = 0,
    rest: int = 0,
    survival_age: int | None = None,
    lookahead: int = 0,
    stagger: float = 0.0,
    window: int | None = None,
) -> MaskTransform:
    """Grows and prunes weights at mask updates: score → allocate → count → select.

    Args:
      drop: Score of active weights; the lowest are pruned.
      grow: Score of inactive weights; the highest are grown.
      density: Target density at a step (of weights, or in cost, depending on the allocation; all
        numbers of weights below are then costs).
      churn: ρ(step), exchanged fraction of the active weights; see `budget.track_density`.
      allocation: Splits the target over leaves, or lets them compete (`allocate.global_`).
      every: Steps between mask updates.
      start: First step at which masks may be updated; with 1, the first step uses the masks of
        `init`.
      stop: First step from which masks are not updated any more; None for no end.
      budget: Numbers of weights to grow and prune; `budget.track_density(churn)` unless given.
      select: `select.exact_top_k`, or a structured selection, which takes no costs.
      seed_score: Score of the initial masks.
      seed_allocation: Splits the density at step 0; `allocation` unless given.
      protect: Steps during which a grown weight is not pruned, unless the target requires it.
      rest: Steps before a pruned weight may be grown again, unless the target requires it; 0: it
        may be grown in the same update.
      survival_age: If given, scores for growth are multiplied by the leaf's fraction of grown
        weights that reached this age: the mean of a Beta(1 + survived, 1 + died) posterior.
        At least `every`.
      lookahead: Steps; an update at step t aims at the density at t + lookahead.
      stagger: Steps by which the density curve of the last leaf is delayed against the first.
      window: Statistics are updated only in the last `window` steps before a mask update, which are
        then the only steps that need a dense gradient; None: in all steps. In a moving
        average of decay 0.9, gradients of more than 20 steps ago are negligible.

    Returns:
      The mask transform, with a `PlasticityState`.

    Raises:
      ValueError: If a density is not in [0, 1], if `survival_age` is below `every`, or (on init) if
        `stagger` is used with an allocation in which leaves compete, or a structured selection with
        `allocate.by_total_cost`.
    """
    if survival_age is not None and survival_age < every:
        raise ValueError(f"survival_age: got {survival_age}, allowed: at least every = {every}")
    check_densities(density)
    ages = _Ages(protect, rest, survival_age, every)
    budget = track_density(churn) if budget is None else budget
    rule = _Rule(
        drop, grow, allocation, _targets(allocation, density, stagger), budget, select, ages,
        lookahead,
    )  # fmt: skip
    first = seed_allocation or allocation
    seeding = _targets(first, density, stagger)

    def init_fn(masks: Masks, params: Any, key: jax.Array) -> tuple[Masks, PlasticityState]:
        active, weights = masked_leaves(masks), masked_leaves(masks, params)
        shapes = {path: leaf.shape for path, leaf in active.items()}
        groups = list(rule.targets(shapes, jnp.int32(0)))
        ctx = MaskContext(step=jnp.int32(0), params=weights, grads=weights, key=key)
        seeds = seed_score.value(scores.init_statistics((seed_score,), weights), ctx)
        active = _first(seeding, select, weight_costs(first, shapes), active, seeds, key)
        return update_leaves(masks, active), _init_state(rule, groups, weights)

    def update_fn(
        masks: Masks, state: PlasticityState, ctx: MaskContext
    ) -> tuple[Masks, PlasticityState]:
        own = ctx.of_masked(masks)
        kept, seen = scores.observe_before((drop, grow), state.statistics, own, every, window)

        def at_update(x: tuple[Leaves, PlasticityState]) -> tuple[Leaves, PlasticityState]:
            active, new = _update_masks(rule, x[0], x[1]._replace(statistics=kept), own)
            return active, new._replace(statistics={})

        before = (masked_leaves(masks), state._replace(statistics={}, skips=no_skips()))
        due = ctx.may_update
        (active, after), skips = cond_finite(due, at_update, before, state.skips, own.grads, seen)
        return update_leaves(masks, active), after._replace(statistics=kept, skips=skips)

    may_observe = scores.observed((drop, grow), every, window)
    transform = MaskTransform(init_fn, update_fn, may_observe=may_observe)
    return every_(between(transform, start, stop), every)


def _first(
    targets: _Targets, select: Select, costs: _Costs, active: Leaves, seeds: Leaves, key: jax.Array
) -> Leaves:
    """The initial masks: the highest seed scores of each group, among what may be active."""
    shapes = {path: leaf.shape for path, leaf in active.items()}
    chosen, seeds = selection(select, costs), per_cost(seeds, costs)
    for i, (group, k) in enumerate(targets(shapes, jnp.int32(0)).items()):
        own = jax.random.fold_in(key, i)
        active = active | chosen(_pick(seeds, group), k, own, _pick(active, group))
    return active


class _Ages(NamedTuple):
    """Settings in steps since a weight was last grown or pruned; as arguments of `plasticity`."""

    protect: int
    rest: int
    survival_age: int | None
    every: int

    def tracked(self) -> bool:
        """Whether a mask update depends on ages."""
        return bool(self.protect or self.rest or self.survival_age is not None)


class _Rule(NamedTuple):
    """Settings of a mask update; `targets`: `(shapes, step) → {group: () int32}`."""

    drop: scores.Score
    grow: scores.Score
    allocation: Allocation
    targets: _Targets
    budget: Budget
    select: Select
    ages: _Ages
    lookahead: int


class _Group(NamedTuple):
    """One group at a mask update: its leaves by path, without ages unless the rule needs them."""

    active: Leaves
    drop: Leaves
    grow: Leaves
    age: Leaves
    costs: _Costs
    target: jax.Array
    step: jax.Array
    price: jax.Array
    key: jax.Array


def _update_masks(
    rule: _Rule, active: Leaves, state: PlasticityState, ctx: MaskContext
) -> tuple[Leaves, PlasticityState]:
    """One mask update: score → allocate → count → select."""
    # A dict that a loop has carried is sorted by name, where Dense_10 comes before Dense_2.
    active = {path: active[path] for path in sorted(active, key=natural_order)}
    drop, grow = (score.value(state.statistics, ctx) for score in (rule.drop, rule.grow))
    nan = total(map(jnp.isnan, (*drop.values(), *grow.values())))
    grow = {p: s * _survival(state, p) if state.survived else s for p, s in grow.items()}
    age = {p: ctx.step - c for p, c in state.changed.items()}
    after, price = dict(active), dict(state.price)
    shapes = {p: m.shape for p, m in active.items()}
    targets = rule.targets(shapes, ctx.step + rule.lookahead)
    costs = weight_costs(rule.allocation, shapes)
    drop, grow = per_cost(drop, costs), per_cost(grow, costs)
    for i, (paths, target) in enumerate(targets.items()):
        name, key = _name(paths), jax.random.fold_in(ctx.key, i)
        group = _Group(
            _pick(active, paths), _pick(drop, paths), _pick(grow, paths),
            _pick(age, paths) if age else {}, costs, target, ctx.step, price[name], key,
        )  # fmt: skip
        members, price[name] = _exchange(rule, group)
        after |= members
    state = state._replace(price=price, nan_scores=state.nan_scores + nan)
    return after, _track_ages(rule.ages, state, active, after, age, ctx.step)


def _exchange(rule: _Rule, group: _Group) -> tuple[Leaves, jax.Array]:
    """active ← (active ∧ ¬pruned) ∨ grown, in one group; also returns its new price."""
    active, inactive = group.active, {p: ~m for p, m in group.active.items()}
    prunable = _at_age(active, group.age, rule.ages.protect)
    growable = _at_age(inactive, group.age, rule.ages.rest)
    counts = rule.budget(_candidates(rule, group, prunable, growable), group.price)
    select = selection(rule.select, group.costs)
    drop_key, grow_key = jax.random.split(group.key)
    may_prune = _relax(prunable, active, counts.prune, group.costs)
    drop = {p: -s for p, s in group.drop.items()}
    pruned = select(drop, counts.prune, drop_key, may_prune, over=True)
    may_grow = _relax(growable, inactive, counts.grow, group.costs)
    if not rule.ages.rest:  # weights pruned in this update may be grown again, as in RigL
        may_grow = {p: m | pruned[p] for p, m in may_grow.items()}
    grow = counts.grow
    if group.costs:  # the last of the pruned weights may have cost more than was left to prune
        excess = jnp.maximum(cost_of(pruned, group.costs) - counts.prune, 0)
        grow += jnp.where(grow > 0, excess, 0)
    grown = select(group.grow, grow, grow_key, may_grow)
    return {p: (m & ~pruned[p]) | grown[p] for p, m in active.items()}, counts.price


def _candidates(rule: _Rule, group: _Group, prunable: Leaves, growable: Leaves) -> Candidates:
    costs = group.costs

    def cost(masks: Leaves) -> jax.Array:
        return cost_of(masks, costs)

    return Candidates(
        step=group.step,
        size=sum(m.size * costs.get(p, 1) for p, m in group.active.items()),
        active=cost(group.active),
        target=group.target,
        prunable=cost(prunable),
        # Without rest, weights that are pruned may be grown again.
        growable=cost(growable) + (0 if rule.ages.rest else cost(prunable)),
        n_below=lambda price: cost({p: m & (group.drop[p] < price) for p, m in prunable.items()}),
        n_above=lambda price: cost({p: m & (group.grow[p] > price) for p, m in growable.items()}),
    )


def _targets(allocation: Allocation, density: Schedule, stagger: float) -> _Targets:
    """`(shapes, step) → {group: () int32}`, numbers of active weights by the density."""

    def targets(shapes: Shapes, step: jax.Array) -> dict[Group, jax.Array]:
        if not stagger:
            return allocation(shapes, density(step))
        if any(len(group) > 1 for group in allocation(shapes, jnp.float32(1))):
            raise ValueError(
                f"stagger: got {stagger} with competing leaves, allowed: an allocation by leaf"
            )
        last = max(len(shapes) - 1, 1)
        curves = {path: staggered(density, i / last, stagger) for i, path in enumerate(shapes)}
        return {(path,): allocation(shapes, curves[path](step))[(path,)] for path in shapes}

    return targets


def _init_state(rule: _Rule, groups: list[Group], weights: Leaves) -> PlasticityState:
    survivors = weights if rule.ages.survival_age is not None else {}
    return PlasticityState(
        statistics=scores.init_statistics((rule.drop, rule.grow), weights),
        changed={
            p: jnp.full(w.shape, _LONG_AGO, jnp.int32)
            for p, w in weights.items()
            if rule.ages.tracked()
        },
        survived={p: jnp.float32(0) for p in survivors},
        died={p: jnp.float32(0) for p in survivors},
        price={_name(group): jnp.float32(0) for group in groups},
        nan_scores=jnp.int32(0),
        skips=no_skips(),
    )


def _track_ages(
    ages: _Ages,
    state: PlasticityState,
    before: Leaves,
    after: Leaves,
    age: Leaves,
    step: jax.Array,
) -> PlasticityState:
    """The state with the changes of this update, and with survivors and deaths counted."""
    last = state.changed
    state = state._replace(
        changed={p: jnp.where(before[p] != after[p], step, c) for p, c in last.items()}
    )
    if ages.survival_age is None:
        return state
    young = {p: before[p] & (c >= 0) & (age[p] <= ages.survival_age) for p, c in last.items()}
    oldest = ages.survival_age - ages.every
    of_age = {p: m & after[p] & (age[p] > oldest) for p, m in young.items()}
    lost = {p: m & ~after[p] for p, m in young.items()}
    return state._replace(
        survived={p: n + jnp.sum(of_age[p], dtype=n.dtype) for p, n in state.survived.items()},
        died={p: n + jnp.sum(lost[p], dtype=n.dtype) for p, n in state.died.items()},
    )


def survival(state: PlasticityState) -> dict[str, jax.Array]:
    """`{path: () float32}`, posterior mean probability that a grown weight of a leaf survives."""
    return {path: _survival(state, path) for path in state.survived}


def _survival(state: PlasticityState, path: str) -> jax.Array:
    return (1 + state.survived[path]) / (2 + state.survived[path] + state.died[path])


def _at_age(marked: Leaves, age: Leaves, least: int) -> Leaves:
    return {p: m & (age[p] >= least) for p, m in marked.items()} if age else marked


def _relax(wanted: Leaves, allowed: Leaves, needed: jax.Array, costs: _Costs) -> Leaves:
    """`wanted` if at least `needed` are True, else all that are `allowed`."""
    short = cost_of(wanted, costs) < needed
    return {p: m | (short & allowed[p]) for p, m in wanted.items()}


def _pick(leaves: Mapping[str, jax.Array], group: Group) -> Leaves:
    return {path: leaves[path] for path in group}


def _name(group: Group) -> str:
    return "+".join(group)
