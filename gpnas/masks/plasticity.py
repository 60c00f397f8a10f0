"""Plasticity: the one transform that grows and prunes. All the methods are settings of it."""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gpnas.masks import score as scores
from gpnas.masks import tree
from gpnas.masks.allocate import Allocation, Group, Shapes, erk
from gpnas.masks.budget import Budget, Offer, by_curve
from gpnas.masks.finite import Skips, no_skips, sometimes_finite
from gpnas.masks.schedule import Schedule, check_densities, constant, staggered
from gpnas.masks.select import Select, exact_top_k
from gpnas.masks.transform import MaskContext, Masks, MaskTransform, between
from gpnas.masks.transform import every as every_

Leaves = dict[str, jax.Array]
_LONG_AGO = -(2**30)


class PlasticityState(NamedTuple):
    """What plasticity remembers.

    Attributes:
      statistics: Running statistics of the scores, by name, each `{path: array}`.
      changed: `{path: int32 array}`, step at which a weight last woke or was dropped; empty where
        no setting needs it. Weights that have not changed since the start have a very early step.
      survived, died: `{path: () float32}`, newborns that reached the survival age or did not.
      price: `{group: () float32}`, λ of `by_price`.
      nan_scores: () int32, NaN scores met so far: a caller's error, never selected.
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
    """Grows and prunes weights at events: score → allocate → count → select.

    Args:
      drop: Worth of the living; the lowest are pruned.
      grow: Worth of the dormant; the highest are grown.
      density: Target density at a step (of the whole, or in MACs, as the allocation counts).
      churn: ρ(step), exchanged fraction of the living; see `budget.by_curve`.
      allocation: Splits the target over leaves, or lets them compete (`global_`).
      every: Steps between events.
      start: First step that may be an event; 1 leaves the masks of `init` to the first steps.
      stop: First step that may not be one; None for no end.
      budget: Counts to grow and prune; `by_curve(churn)` unless given.
      select: `exact_top_k` or a structured selection of the same signature (`blocks`).
      seed_score: Decides which weights live at the start.
      seed_allocation: Splits the density at step 0; `allocation` unless given.
      protect: Steps during which a newborn is not pruned. Where the target demands more than the
        others can give, this is lifted for the event.
      rest: Steps that a pruned site rests before it may grow again; 0 lets it grow at once.
      survival_age: If given, growth in a leaf is weighed by the share of its newborns that lived to
        this age: the mean of a Beta(1 + survived, 1 + died) posterior. At least `every`.
      lookahead: Steps that an event looks ahead on the density curve; with `every`, an event aims
        at where the curve will be by the next one.
      stagger: Steps by which the last leaf follows the density curve later than the first.
      window: Look at the gradient only in the last so many steps before an event; None for all.
        An average of decay 0.9 forgets in 20 steps, and only where it looks is a dense gradient
        needed.

    Returns:
      The mask transform, with a `PlasticityState`.

    Raises:
      ValueError: If a density is not in [0, 1], if `survival_age` is below `every`, or (on init) if
        `stagger` is used with an allocation in which leaves compete.
    """
    if survival_age is not None and survival_age < every:
        raise ValueError(f"survival_age: got {survival_age}, allowed: at least every = {every}")
    judges = (drop, grow)
    count = by_curve(churn) if budget is None else budget
    remembers = bool(protect or rest or survival_age is not None)

    check_densities(density)

    def targets(allocation: Allocation, shapes: Shapes, step: jax.Array) -> dict[Group, jax.Array]:
        if not stagger:
            return allocation(shapes, density(step))
        last = max(len(shapes) - 1, 1)
        curves = {path: staggered(density, i / last, stagger) for i, path in enumerate(shapes)}
        return {(path,): allocation(shapes, curves[path](step))[(path,)] for path in shapes}

    def init_fn(masks: Masks, params: Any, key: jax.Array) -> tuple[Masks, PlasticityState]:
        live = tree.maskable(masks)
        shapes = {path: leaf.shape for path, leaf in live.items()}
        if stagger and any(len(group) > 1 for group in allocation(shapes, jnp.float32(1))):
            raise ValueError(
                f"stagger: got {stagger} with competing leaves, allowed: an allocation by leaf"
            )
        weights = tree.maskable(masks, params)
        ctx = MaskContext(step=jnp.int32(0), params=weights, grads=weights, key=key)
        seeds = seed_score.value(scores.start((seed_score,), weights), ctx)
        seeding = targets(seed_allocation or allocation, shapes, jnp.int32(0))
        for i, (group, k) in enumerate(seeding.items()):
            members = _pick(live, group)
            live |= select(_pick(seeds, group), k, jax.random.fold_in(key, i), members)
        state = PlasticityState(
            statistics=scores.start(judges, weights),
            changed={p: jnp.full(s, _LONG_AGO, jnp.int32) for p, s in shapes.items()}
            if remembers
            else {},
            survived={p: jnp.float32(0) for p in shapes} if survival_age is not None else {},
            died={p: jnp.float32(0) for p in shapes} if survival_age is not None else {},
            price={_name(group): jnp.float32(0) for group in allocation(shapes, jnp.float32(1))},
            nan_scores=jnp.int32(0),
            skips=no_skips(),
        )
        return tree.put(masks, live), state

    def update_fn(
        masks: Masks, state: PlasticityState, ctx: MaskContext
    ) -> tuple[Masks, PlasticityState]:
        live = tree.maskable(masks)
        own = dataclasses.replace(
            ctx, params=tree.maskable(masks, ctx.params), grads=tree.maskable(masks, ctx.grads)
        )
        kept, seen = scores.observe_before(judges, state.statistics, own, every, window)

        def at_event(x: tuple[Leaves, PlasticityState]) -> tuple[Leaves, PlasticityState]:
            live, rest = event(x[0], x[1]._replace(statistics=kept), own)
            return live, rest._replace(statistics={})

        changes = (live, state._replace(statistics={}, skips=no_skips()))
        (live, changed), skips = sometimes_finite(
            ctx.event, at_event, changes, state.skips, own.grads, seen
        )
        return tree.put(masks, live), changed._replace(statistics=kept, skips=skips)

    def event(
        live: Leaves, state: PlasticityState, ctx: MaskContext
    ) -> tuple[Leaves, PlasticityState]:
        worth = drop.value(state.statistics, ctx)
        gain = grow.value(state.statistics, ctx)
        bad = _sum({i: jnp.isnan(x) for i, x in enumerate((*worth.values(), *gain.values()))})
        if survival_age is not None:
            gain = {p: g * _survival(state, p) for p, g in gain.items()}
        age = {p: ctx.step - c for p, c in state.changed.items()}
        shapes = {path: leaf.shape for path, leaf in live.items()}
        after, price = dict(live), dict(state.price)
        for i, (group, target) in enumerate(
            targets(allocation, shapes, ctx.step + lookahead).items()
        ):
            key = jax.random.fold_in(ctx.key, i)
            members, price[_name(group)] = _exchange(
                _pick(live, group), _pick(worth, group), _pick(gain, group),
                _pick(age, group) if remembers else None,
                target, ctx.step, price[_name(group)], key,
            )  # fmt: skip
            after |= members
        state = state._replace(price=price, nan_scores=state.nan_scores + bad)
        return after, _remember(state, live, after, age, ctx.step)

    def _exchange(
        live: Leaves,
        worth: Leaves,
        gain: Leaves,
        age: Leaves | None,
        target: jax.Array,
        step: jax.Array,
        price: jax.Array,
        key: jax.Array,
    ) -> tuple[Leaves, jax.Array]:
        """One group's event: who leaves, then who comes."""
        dormant = {p: ~m for p, m in live.items()}
        grown_up = {p: m & (age[p] >= protect) for p, m in live.items()} if age else live
        rested = {p: m & (age[p] >= rest) for p, m in dormant.items()} if age else dormant
        returning = jnp.int32(0) if rest else _sum(grown_up)  # dropped here, to be judged anew
        offer = Offer(
            step=step,
            size=sum(m.size for m in live.values()),
            live=_sum(live),
            target=target,
            prunable=_sum(grown_up),
            growable=_sum(rested) + returning,
            cheaper=lambda price: _sum({p: m & (worth[p] < price) for p, m in grown_up.items()}),
            dearer=lambda price: _sum({p: m & (gain[p] > price) for p, m in rested.items()}),
        )
        counts = count(offer, price)
        drop_key, grow_key = jax.random.split(key)
        may_go = _relax(grown_up, live, counts.prune)
        gone = select({p: -w for p, w in worth.items()}, counts.prune, drop_key, may_go)
        may_come = _relax(rested, dormant, counts.grow)
        if rest == 0:  # what was just dropped may come back at once, as in RigL
            may_come = {p: m | gone[p] for p, m in may_come.items()}
        come = select(gain, counts.grow, grow_key, may_come)
        return {p: (m & ~gone[p]) | come[p] for p, m in live.items()}, counts.price

    def _remember(
        state: PlasticityState, before: Leaves, after: Leaves, age: Leaves, step: jax.Array
    ) -> PlasticityState:
        if not remembers:
            return state
        changed = {p: jnp.where(before[p] != after[p], step, c) for p, c in state.changed.items()}
        if survival_age is None:
            return state._replace(changed=changed)
        newborn = {
            p: before[p] & (c >= 0) & (age[p] <= survival_age) for p, c in state.changed.items()
        }
        of_age = {p: m & after[p] & (age[p] > survival_age - every) for p, m in newborn.items()}
        lost = {p: m & ~after[p] for p, m in newborn.items()}
        return state._replace(
            changed=changed,
            survived={p: n + jnp.sum(of_age[p], dtype=n.dtype) for p, n in state.survived.items()},
            died={p: n + jnp.sum(lost[p], dtype=n.dtype) for p, n in state.died.items()},
        )

    return every_(every, between(start, stop, MaskTransform(init_fn, update_fn)))


def survival(state: PlasticityState) -> dict[str, jax.Array]:
    """`{path: () float32}`, mean posterior probability that a newborn of a leaf survives."""
    return {path: _survival(state, path) for path in state.survived}


def _survival(state: PlasticityState, path: str) -> jax.Array:
    return (1 + state.survived[path]) / (2 + state.survived[path] + state.died[path])


def _relax(wanted: Leaves, allowed: Leaves, needed: jax.Array) -> Leaves:
    """`wanted` if there are enough of them, else all that are `allowed`."""
    short = _sum(wanted) < needed
    return {p: m | (short & allowed[p]) for p, m in wanted.items()}


def _sum(leaves: Mapping[Any, jax.Array]) -> jax.Array:
    return tree.total(leaves.values())


def _pick(leaves: Mapping[str, jax.Array], group: Group) -> Leaves:
    return {path: leaves[path] for path in group}


def _name(group: Group) -> str:
    return "+".join(group)
