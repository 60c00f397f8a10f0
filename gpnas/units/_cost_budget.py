"""Units under a cost budget: units of all groups compete by score per marginal cost."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from gpnas.masks import MaskContext, MaskTransform, between, cond_inplace, every, schedule
from gpnas.units.cost import (
    CostModel,
    LatencyTable,
    total_cost,
    total_latency,
    unit_cost,
    unit_latency,
)

Units = dict[str, jax.Array]


class Costs(NamedTuple):
    """A cost of unit masks.

    Attributes:
      total: `{group: (size,) bool} → () float`, of the active units.
      marginal: `{group: (size,) bool} → {group: (size,) float}`: the total with a unit active minus
        that with it inactive.
    """

    total: Callable[[Units], jax.Array]
    marginal: Callable[[Units], Units]


_FUNCTIONS: Any = {False: (total_cost, unit_cost), True: (total_latency, unit_latency)}


def relative_costs(
    model: CostModel, kind: str = "macs", table: LatencyTable | None = None
) -> Costs:
    """Costs as fractions of that of the whole network.

    Masks may be those of a network with fewer units in its arrays: units that are not there are
    inactive.

    Args:
      model: Costs of the whole network's units, see `cost_model`.
      kind: "params", "macs", "flops", or "latency".
      table: For "latency", see `measure_layers`.
    """
    by: Any = table or {} if kind == "latency" else kind
    total, marginal = _FUNCTIONS[kind == "latency"]
    whole = float(total(model, {}, by))

    def padded(active: Units) -> Units:
        return {n: jnp.pad(m, (0, model.sizes[n] - m.size)) for n, m in active.items()}

    def marginal_fn(active: Units) -> Units:
        found = marginal(model, padded(active), by)
        return {name: found[name][: mask.size] / whole for name, mask in active.items()}

    return Costs(lambda active: total(model, padded(active), by) / whole, marginal_fn)


class BudgetState(NamedTuple):
    """State of `cost_budget`.

    Attributes:
      grown: `{group: (size,) int32}`, step at which a unit was last grown, far in the past for
        units that never were.
    """

    grown: Units


_LONG_AGO = -(2**30)


def cost_budget(
    cost: Costs,
    budget: schedule.Schedule,
    churn: schedule.Schedule = schedule.constant(0.0),
    *,
    least: Mapping[str, int],
    every_steps: int = 1,
    stop: int | None = None,
    protect: int = 0,
) -> MaskTransform:
    """Grows and prunes units so that the total cost of the active ones meets a budget.

    It is an inner transform of `on_units`. At a mask update, units of lowest drop score per
    marginal cost are pruned until the total is at most 1 − churn of the budget; inactive units of
    highest grow score per marginal cost are grown while they fit; then units that were pruned in
    this update are kept while they fit. Marginal costs are computed again after every unit, since
    the cost of a unit depends on the others. The total does not exceed the budget, unless all
    groups have the fewest units, and falls short of it by less than any unit that was pruned.

    Args:
      cost: The total cost, and that of each unit.
      budget: `step → () float32`, the total cost of active units.
      churn: `step → () float32`, fraction of the budget that is exchanged in a mask update.
      least: `{group: number of units}` that stay active.
      every_steps, stop: Steps between mask updates, and the first step without any.
      protect: Steps during which a grown unit is not pruned, unless the budget requires it.
    """

    def init_fn(masks: Units, params: Units, key: jax.Array) -> tuple[Units, BudgetState]:
        del params
        grown = {name: jnp.full(mask.shape, _LONG_AGO, jnp.int32) for name, mask in masks.items()}
        return _uniform(cost, masks, least, budget(jnp.int32(0)), key), BudgetState(grown)

    def update_fn(masks: Units, state: BudgetState, ctx: MaskContext) -> tuple[Units, BudgetState]:
        def at_update(x: tuple[Units, BudgetState]) -> tuple[Units, BudgetState]:
            active, before = x
            limit = budget(ctx.step)
            low = jnp.minimum(limit, cost.total(active)) * (1 - churn(ctx.step))
            old = {n: m & (ctx.step - before.grown[n] >= protect) for n, m in active.items()}
            kept = _prune(cost, active, ctx.params, low, old, least)
            kept = _prune(cost, kept, ctx.params, limit, kept, least)
            grown = _grow(cost, kept, ctx.grads, limit, {n: ~m for n, m in active.items()})
            pruned = {n: active[n] & ~kept[n] for n in active}
            after = _grow(cost, grown, ctx.params, limit, pruned)
            steps = {n: jnp.where(after[n] & ~active[n], ctx.step, before.grown[n]) for n in active}
            return after, BudgetState(steps)

        return cond_inplace(ctx.may_update, at_update, (masks, state))

    transform = MaskTransform(init_fn, update_fn, may_observe=schedule.never)
    return every(between(transform, 1, stop), every_steps)


def _prune(
    cost: Costs, active: Units, scores: Units, limit: jax.Array, where: Units,
    least: Mapping[str, int],
) -> Units:  # fmt: skip
    """Prunes units of lowest score per cost until the total is within the limit."""

    def prunable(active: Units) -> Units:
        return {
            n: m & where[n] & (jnp.sum(m) > least[n]) & ~jnp.isnan(scores[n])
            for n, m in active.items()
        }

    def more(active: Units) -> jax.Array:
        some = jnp.any(jnp.stack([jnp.any(m) for m in prunable(active).values()]))
        return (cost.total(active) > limit) & some

    def one(active: Units) -> Units:
        costs, marked = cost.marginal(active), prunable(active)
        ratio = {n: _ratio(scores[n], costs[n]) for n in active}
        return _toggled(active, {n: jnp.where(marked[n], -ratio[n], -jnp.inf) for n in active})

    return lax.while_loop(more, one, active)


def _grow(cost: Costs, active: Units, scores: Units, limit: jax.Array, where: Units) -> Units:
    """Activates units of highest score per cost while they fit; scores of zero are not grown."""

    def candidates(active: Units) -> tuple[Units, Units]:
        costs, spent = cost.marginal(active), cost.total(active)
        fits = {
            n: ~m & where[n] & (spent + costs[n] <= limit) & (scores[n] > 0)
            for n, m in active.items()
        }
        return costs, fits

    def more(active: Units) -> jax.Array:
        return jnp.any(jnp.stack([jnp.any(m) for m in candidates(active)[1].values()]))

    def one(active: Units) -> Units:
        costs, fits = candidates(active)
        ratio = {n: _ratio(scores[n], costs[n]) for n in active}
        return _toggled(active, {n: jnp.where(fits[n], ratio[n], -jnp.inf) for n in active})

    return lax.while_loop(more, one, active)


def _ratio(score: jax.Array, cost: jax.Array) -> jax.Array:
    return score.astype(jnp.float32) / jnp.maximum(cost, 1e-30)


def _toggled(active: Units, ranks: Units) -> Units:
    """The masks with the unit of highest rank inverted, the first of several."""
    flat = jnp.concatenate(list(ranks.values()))
    best, first, after = jnp.argmax(flat), 0, {}
    for name, mask in active.items():
        after[name] = mask ^ (jnp.arange(mask.size) == best - first)
        first += mask.size
    return after


def _uniform(
    cost: Costs, masks: Units, least: Mapping[str, int], limit: jax.Array, key: jax.Array
) -> Units:
    """Random units, the same fraction of each group: the largest whose cost is within a limit."""
    keys = jax.random.split(key, len(masks))
    rank = {
        n: jax.random.permutation(k, m.size) for k, (n, m) in zip(keys, masks.items(), strict=True)
    }

    def of(fraction: jax.Array) -> Units:
        counts = {n: jnp.floor(fraction * m.size).astype(jnp.int32) for n, m in masks.items()}
        return {n: rank[n] < jnp.maximum(counts[n], least[n]) for n in masks}

    def half(_: int, ends: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        low, high = ends
        middle = (low + high) / 2
        fine = cost.total(of(middle)) <= limit
        return jnp.where(fine, middle, low), jnp.where(fine, high, middle)

    low, _ = lax.fori_loop(0, 24, half, (jnp.float32(0), jnp.float32(1)))
    whole = of(jnp.float32(1))
    fits = cost.total(whole) <= limit * (1 + 1e-6)
    part = of(low)
    return {n: jnp.where(fits, whole[n], part[n]) for n in masks}
