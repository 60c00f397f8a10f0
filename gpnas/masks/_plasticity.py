"""Plasticity: the transform that grows and prunes weights; most methods are settings of it."""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gpnas.masks import score as scores
from gpnas.masks import tree
from gpnas.masks._leaves import masked_leaves, update_leaves
from gpnas.masks._transform import MaskContext, Masks, MaskTransform, between
from gpnas.masks._transform import every as every_
from gpnas.masks.allocate import Allocation, Group, Shapes, erk
from gpnas.masks.budget import Budget, Candidates, track_density
from gpnas.masks.finite import Skips, cond_finite, no_skips
from gpnas.masks.schedule import Schedule, check_densities, constant, staggered
from gpnas.masks.select import Select, exact_top_k

Leaves = dict[str, jax.Array]
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
      density: Target density at a step (of weights, or in cost, depending on the allocation).
      churn: ρ(step), exchanged fraction of the active weights; see `budget.track_density`.
      allocation: Splits the target over leaves, or lets them compete (`allocate.global_`).
      every: Steps between mask updates.
      start: First step at which masks may be updated; with 1, the first step uses the masks of
        `init`.
      stop: First step from which masks are not updated any more; None for no end.
      budget: Numbers of weights to grow and prune; `budget.track_density(churn)` unless given.
      select: `select.exact_top_k`, or a structured selection of the same signature.
      seed_score: Score of the initial masks.
      seed_allocation: Splits the density at step 0; `allocation` unless given.
      protect: Steps during which a grown weight is not pruned, unless the target requires it.
      rest: Steps before a pruned weight may be grown again, unless the target requires it; 0: it
        may be grown in the same update.
      survival_age: If given, scores for growth are multiplied by the leaf's fraction of grown
        weights that reached this age: the mean of a Beta(1 + survived, 1 + died) posterior. At
          least
        `every`.
      lookahead: Steps; an update at step t aims at the density at t + lookahead.
      stagger: Steps by which the density curve of the last leaf is delayed against the first.
      window: Statistics are updated only in the last `window` steps before a mask update, which are
        then the only steps that need a dense gradient; None: in all steps. A moving average of
        decay 0.9 forgets in about 20 steps.

    Returns:
      The mask transform, with a `PlasticityState`.

    Raises:
      ValueError: If a density is not in [0, 1], if `survival_age` is below `every`, or (on init) if
        `stagger` is used with an allocation in which leaves compete.
    """
    if survival_age is not None and survival_age < every:
        raise ValueError(f"survival_age: got {survival_age}, allowed: at least every = {every}")
    scored = (drop, grow)
    count = track_density(churn) if budget is None else budget
    tracks_age = bool(protect or rest or survival_age is not None)

    check_densities(density)

    def targets(allocation: Allocation, shapes: Shapes, step: jax.Array) -> dict[Group, jax.Array]:
        if not stagger:
            return allocation(shapes, density(step))
        last = max(len(shapes) - 1, 1)
        curves = {path: staggered(density, i / last, stagger) for i, path in enumerate(shapes)}
        return {(path,): allocation(shapes, curves[path](step))[(path,)] for path in shapes}

    def init_fn(masks: Masks, params: Any, key: jax.Array) -> tuple[Masks, PlasticityState]:
        active = masked_leaves(masks)
        shapes = {path: leaf.shape for path, leaf in active.items()}
        if stagger and any(len(group) > 1 for group in allocation(shapes, jnp.float32(1))):
            raise ValueError(
                f"stagger: got {stagger} with competing leaves, allowed: an allocation by leaf"
            )
        weights = masked_leaves(masks, params)
        ctx = MaskContext(step=jnp.int32(0), params=weights, grads=weights, key=key)
        seeds = seed_score.value(scores.start((seed_score,), weights), ctx)
        seeding = targets(seed_allocation or allocation, shapes, jnp.int32(0))
        for i, (group, k) in enumerate(seeding.items()):
            members = _pick(active, group)
            active |= select(_pick(seeds, group), k, jax.random.fold_in(key, i), members)
        state = PlasticityState(
            statistics=scores.start(scored, weights),
            changed={p: jnp.full(s, _LONG_AGO, jnp.int32) for p, s in shapes.items()}
            if tracks_age
            else {},
            survived={p: jnp.float32(0) for p in shapes} if survival_age is not None else {},
            died={p: jnp.float32(0) for p in shapes} if survival_age is not None else {},
            price={_name(group): jnp.float32(0) for group in allocation(shapes, jnp.float32(1))},
            nan_scores=jnp.int32(0),
            skips=no_skips(),
        )
        return update_leaves(masks, active), state

    def update_fn(
        masks: Masks, state: PlasticityState, ctx: MaskContext
    ) -> tuple[Masks, PlasticityState]:
        active = masked_leaves(masks)
        own = dataclasses.replace(
            ctx, params=masked_leaves(masks, ctx.params), grads=masked_leaves(masks, ctx.grads)
        )
        kept, seen = scores.observe_before(scored, state.statistics, own, every, window)

        def at_update(x: tuple[Leaves, PlasticityState]) -> tuple[Leaves, PlasticityState]:
            active, rest = update_masks(x[0], x[1]._replace(statistics=kept), own)
            return active, rest._replace(statistics={})

        changes = (active, state._replace(statistics={}, skips=no_skips()))
        (active, changed), skips = cond_finite(
            ctx.may_update, at_update, changes, state.skips, own.grads, seen
        )
        return update_leaves(masks, active), changed._replace(statistics=kept, skips=skips)

    def update_masks(
        active: Leaves, state: PlasticityState, ctx: MaskContext
    ) -> tuple[Leaves, PlasticityState]:
        drop_scores = drop.value(state.statistics, ctx)
        grow_scores = grow.value(state.statistics, ctx)
        bad = _sum(
            {i: jnp.isnan(x) for i, x in enumerate((*drop_scores.values(), *grow_scores.values()))}
        )
        if survival_age is not None:
            grow_scores = {p: s * _survival(state, p) for p, s in grow_scores.items()}
        age = {p: ctx.step - c for p, c in state.changed.items()}
        shapes = {path: leaf.shape for path, leaf in active.items()}
        after, price = dict(active), dict(state.price)
        for i, (group, target) in enumerate(
            targets(allocation, shapes, ctx.step + lookahead).items()
        ):
            key = jax.random.fold_in(ctx.key, i)
            members, price[_name(group)] = _exchange(
                _pick(active, group), _pick(drop_scores, group), _pick(grow_scores, group),
                _pick(age, group) if tracks_age else None,
                target, ctx.step, price[_name(group)], key,
            )  # fmt: skip
            after |= members
        state = state._replace(price=price, nan_scores=state.nan_scores + bad)
        return after, _track_ages(state, active, after, age, ctx.step)

    def _exchange(
        active: Leaves,
        drop_scores: Leaves,
        grow_scores: Leaves,
        age: Leaves | None,
        target: jax.Array,
        step: jax.Array,
        price: jax.Array,
        key: jax.Array,
    ) -> tuple[Leaves, jax.Array]:
        """Mask update of one group: prunes, then grows."""
        inactive = {p: ~m for p, m in active.items()}
        prunable = {p: m & (age[p] >= protect) for p, m in active.items()} if age else active
        growable = {p: m & (age[p] >= rest) for p, m in inactive.items()} if age else inactive
        regrowable = jnp.int32(0) if rest else _sum(prunable)  # pruned and grown in one update
        candidates = Candidates(
            step=step,
            size=sum(m.size for m in active.values()),
            active=_sum(active),
            target=target,
            prunable=_sum(prunable),
            growable=_sum(growable) + regrowable,
            n_below=lambda price: _sum(
                {p: m & (drop_scores[p] < price) for p, m in prunable.items()}
            ),
            n_above=lambda price: _sum(
                {p: m & (grow_scores[p] > price) for p, m in growable.items()}
            ),
        )
        counts = count(candidates, price)
        drop_key, grow_key = jax.random.split(key)
        may_prune = _relax(prunable, active, counts.prune)
        lowest = {p: -s for p, s in drop_scores.items()}
        pruned = select(lowest, counts.prune, drop_key, may_prune)
        may_grow = _relax(growable, inactive, counts.grow)
        if rest == 0:  # weights pruned in this update may be grown again, as in RigL
            may_grow = {p: m | pruned[p] for p, m in may_grow.items()}
        grown = select(grow_scores, counts.grow, grow_key, may_grow)
        return {p: (m & ~pruned[p]) | grown[p] for p, m in active.items()}, counts.price

    def _track_ages(
        state: PlasticityState, before: Leaves, after: Leaves, age: Leaves, step: jax.Array
    ) -> PlasticityState:
        if not tracks_age:
            return state
        changed = {p: jnp.where(before[p] != after[p], step, c) for p, c in state.changed.items()}
        if survival_age is None:
            return state._replace(changed=changed)
        young = {
            p: before[p] & (c >= 0) & (age[p] <= survival_age) for p, c in state.changed.items()
        }
        of_age = {p: m & after[p] & (age[p] > survival_age - every) for p, m in young.items()}
        lost = {p: m & ~after[p] for p, m in young.items()}
        return state._replace(
            changed=changed,
            survived={p: n + jnp.sum(of_age[p], dtype=n.dtype) for p, n in state.survived.items()},
            died={p: n + jnp.sum(lost[p], dtype=n.dtype) for p, n in state.died.items()},
        )

    return every_(between(MaskTransform(init_fn, update_fn), start, stop), every)


def survival(state: PlasticityState) -> dict[str, jax.Array]:
    """`{path: () float32}`, posterior mean probability that a grown weight of a leaf survives."""
    return {path: _survival(state, path) for path in state.survived}


def _survival(state: PlasticityState, path: str) -> jax.Array:
    return (1 + state.survived[path]) / (2 + state.survived[path] + state.died[path])


def _relax(wanted: Leaves, allowed: Leaves, needed: jax.Array) -> Leaves:
    """`wanted` if at least `needed` are True, else all that are `allowed`."""
    short = _sum(wanted) < needed
    return {p: m | (short & allowed[p]) for p, m in wanted.items()}


def _sum(leaves: Mapping[Any, jax.Array]) -> jax.Array:
    return tree.total(leaves.values())


def _pick(leaves: Mapping[str, jax.Array], group: Group) -> Leaves:
    return {path: leaves[path] for path in group}


def _name(group: Group) -> str:
    return "+".join(group)
