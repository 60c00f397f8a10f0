"""Units under a cost budget: the units of all groups compete by score per marginal cost."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from gpnas.masks import MaskContext, MaskTransform, between, every, schedule
from gpnas.masks.finite import Skips, cond_finite, no_skips
from gpnas.units._blocks import is_block
from gpnas.units._groups import split_by_group
from gpnas.units.cost import (
    CostModel,
    LatencyTable,
    total_cost,
    total_latency,
    unit_cost,
    unit_latency,
)

_ROUNDING = 1e-6  # relative error of a total cost in float32
#: `{group: (size,)}`: bool masks, or values of units.
Units = dict[str, jax.Array]


class Costs(NamedTuple):
    """A cost as a function of unit masks.

    Attributes:
      total: `{group: (size,) bool} → () float`, the cost of the active units.
      marginal: `{group: (size,) bool} → {group: (size,) float}`: the total with a unit active minus
        that with it inactive.
      sizes: `{group: number of units}` of the whole network.
    """

    total: Callable[[Units], jax.Array]
    marginal: Callable[[Units], Units]
    sizes: Mapping[str, int]


def relative_costs(
    model: CostModel, kind: str = "macs", table: LatencyTable | None = None
) -> Costs:
    """Returns costs as fractions of the whole network's cost.

    Masks may belong to a compacted network; units missing in them are inactive.

    Args:
      model: Costs of the whole network's units, see `cost_model`.
      kind: "params", "macs", "flops", or "latency".
      table: For "latency", see `measure_layers`.

    Raises:
      UserError: For an unknown kind, or a layer that the table lacks.
    """
    total: Any = total_cost
    marginal: Any = unit_cost
    by: Any = kind
    if kind == "latency":
        total, marginal, by = total_latency, unit_latency, table or {}
    whole = float(total(model, {}, by))

    def padded(active: Units) -> Units:
        sizes = model.sizes
        return {
            n: m if m.size == sizes[n] else jnp.pad(m, (0, sizes[n] - m.size))
            for n, m in active.items()
        }

    def marginal_fn(active: Units) -> Units:
        found = marginal(model, padded(active), by)
        return {name: found[name][: mask.size] / whole for name, mask in active.items()}

    return Costs(lambda active: total(model, padded(active), by) / whole, marginal_fn, model.sizes)


def fewest_units(sizes: Mapping[str, int], floor: float, round_to: int = 1) -> dict[str, int]:
    """Returns the minimum number of active units: a fraction of each group, at least one unit.

    A block (see `with_blocks`) may be inactive.

    Args:
      sizes: `{group: number of units}`.
      floor: Minimum active fraction of a group.
      round_to: The numbers are multiples of it, or the size of the group.
    """

    def one(size: int) -> int:
        return min(-(-max(round(floor * size), 1) // round_to) * round_to, size)

    return {name: 0 if is_block(name) else one(size) for name, size in sizes.items()}


def _check_least(sizes: Mapping[str, int], least: Mapping[str, int], round_to: int) -> None:
    for name, count in least.items():
        if count % round_to and count != sizes[name]:
            allowed = f"a multiple of round_to = {round_to}, or the size of the group"
            raise ValueError(f"least[{name}]: got {count}, allowed: {allowed}")


def cost_budget(
    cost: Costs,
    budget: schedule.Schedule,
    exchange: schedule.Schedule = schedule.constant(0.0),
    *,
    least: Mapping[str, int],
    round_to: int = 1,
    every_steps: int = 1,
    stop: int | None = None,
) -> MaskTransform:
    """Grows and prunes units so that the total cost of active units meets a budget.

    It is an inner transform of `on_units`. At a mask update, units of lowest drop score per
    marginal cost are pruned until the total is at most 1 − exchange of the budget; inactive units
    of highest grow score per marginal cost are grown while they fit; then units that were pruned in
    this update are kept while they fit. Marginal costs are recomputed after every unit, since the
    cost of a unit depends on the others. The total exceeds the budget only if all groups have the
    fewest units, and falls short of it by less than the cost of any pruned unit.

    A mask update at a step with non-finite gradients is deferred (`gpnas.masks.finite`).

    With `round_to`, units of a group are grown and pruned together, up to the next multiple; their
    scores and costs are added.

    Args:
      cost: Total cost, and marginal cost of each unit.
      budget: `step → () float32`, the total cost of active units.
      exchange: `step → () float32`, fraction of the budget pruned in a mask update and grown again
        (half of the churn of `plasticity`, which counts both).
      least: `{group: number of units}` that stay active, see `fewest_units`.
      round_to: The number of active units of a group is a multiple of it, or the size of the group.
      every_steps, stop: Steps between mask updates, and the first step without any.

    Raises:
      ValueError: If a number of `least` is neither a multiple of `round_to` nor a whole group.
    """
    _check_least(cost.sizes, least, round_to)
    knapsack_of = functools.partial(_knapsack, cost, least, round_to)

    def init_fn(masks: Units, params: Units, key: jax.Array) -> tuple[Units, Skips]:
        del params
        return _uniform(knapsack_of(masks), budget(jnp.int32(0)), key), no_skips()

    def update_fn(masks: Units, state: Skips, ctx: MaskContext) -> tuple[Units, Skips]:
        def at_update(active: Units) -> Units:
            limit = budget(ctx.step) * (1 + _ROUNDING)
            low = jnp.minimum(limit, cost.total(active)) * (1 - exchange(ctx.step))
            return _exchange(knapsack_of(active), active, ctx, low, limit)

        return cond_finite(ctx.may_update, at_update, masks, state, ctx.grads)

    transform = MaskTransform(init_fn, update_fn, may_observe=schedule.never)
    return every(between(transform, 1, stop), every_steps)


class _Knapsack(NamedTuple):
    """The units of all groups as items of one knapsack, and the numbers that groups may have.

    Attributes:
      cost: Costs of the units.
      sizes: `{group: number of units}` of this network.
      group: (units,) int, each unit's group.
      members: (groups, most units of a group) int, the units of each group, padded with the number
        of all units.
      whole: (groups,) int, number of units in the whole network; a compacted one has fewer.
      least: (groups,) int, minimum number of active units.
      round_to: Numbers of active units are multiples of it, or `whole`.
    """

    cost: Costs
    sizes: Mapping[str, int]
    group: np.ndarray
    members: np.ndarray
    whole: np.ndarray
    least: np.ndarray
    round_to: int

    def total(self, active: jax.Array) -> jax.Array:
        """Returns the cost of active units, (units,) bool."""
        return self.cost.total(split_by_group(self.sizes, active))

    def marginal(self, active: jax.Array) -> jax.Array:
        """Returns the marginal cost of each unit, (units,) float."""
        return self.join(self.cost.marginal(split_by_group(self.sizes, active)))

    def join(self, values: Units) -> jax.Array:
        """Concatenates values of the groups; their dict may have another order, or more groups."""
        return jnp.concatenate([values[name] for name in self.sizes])

    def padded(self, values: jax.Array, padding: Any) -> jax.Array:
        """Returns (units,) values as (groups, most units of a group)."""
        return jnp.append(values, padding)[self.members]

    def at_most(self, number: jax.Array) -> jax.Array:
        """Returns the largest allowed numbers up to some, or the fewest; (groups,) int32."""
        down = number // self.round_to * self.round_to
        below = jnp.where(number >= self.whole, self.whole, down)
        return jnp.maximum(below, self.least).astype(jnp.int32)

    def fewer(self, number: jax.Array) -> jax.Array:
        """Returns how many units to prune to reach the next allowed numbers; 0 at the fewest."""
        return jnp.maximum(number - self.at_most(number - 1), 0)

    def more(self, number: jax.Array) -> jax.Array:
        """Returns how many units to grow to reach the next allowed numbers; 0 at the full size."""
        return jnp.minimum((number // self.round_to + 1) * self.round_to, self.whole) - number


def _knapsack(cost: Costs, least: Mapping[str, int], round_to: int, masks: Units) -> _Knapsack:
    sizes = [mask.size for mask in masks.values()]
    members = np.full((len(sizes), max(sizes)), sum(sizes))
    for own, size, end in zip(members, sizes, np.cumsum(sizes), strict=True):
        own[:size] = np.arange(end - size, end)
    return _Knapsack(
        cost,
        sizes=dict(zip(masks, sizes, strict=True)),
        group=np.repeat(np.arange(len(sizes)), sizes),
        members=members,
        whole=np.array([cost.sizes[name] for name in masks], np.int32),
        least=np.array([least[name] for name in masks], np.int32),
        round_to=round_to,
    )


def _exchange(
    knapsack: _Knapsack, active: Units, ctx: MaskContext, low: jax.Array, limit: jax.Array
) -> Units:
    """Prunes to the lower limit, grows to the upper one, then regrows pruned units that fit."""
    before = knapsack.join(active)
    drop, grow = (knapsack.join(values).astype(jnp.float32) for values in (ctx.params, ctx.grads))
    useful = ~before & (grow > 0)
    phases = _Phase(
        prune=jnp.array([True, False, False]),
        limit=jnp.stack([low, limit, limit]),
        scores=jnp.stack([drop, grow, jnp.where(before, drop, 0)]),
        # Units that were inactive before are regrown only to complete a multiple.
        free=jnp.stack([before & ~jnp.isnan(drop), useful, before | useful]),
    )
    after, _ = lax.scan(lambda now, phase: (_greedy(knapsack, now, phase), None), before, phases)
    return split_by_group(knapsack.sizes, after)


class _Phase(NamedTuple):
    """A part of a mask update that only prunes or only grows.

    Attributes:
      prune: () bool, whether active units are pruned; otherwise, inactive ones are grown.
      limit: () float, the total cost down to which units are pruned or up to which they are grown.
      scores: (units,) float; units of lowest score per cost are pruned, of highest are grown.
      free: (units,) bool, units that may be pruned or grown.
    """

    prune: jax.Array
    limit: jax.Array
    scores: jax.Array
    free: jax.Array


def _greedy(knapsack: _Knapsack, active: jax.Array, phase: _Phase) -> jax.Array:
    """Applies the allowed move of highest rank (the first of equal ones) until none is allowed.

    A GPU synchronizes with its host after each move. A loop of static length would need one
    iteration per unit, each of which recomputes all moves; a mask update needs few moves.
    """
    groups = np.arange(len(knapsack.whole))

    def one(state: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        _, now = state
        moved, ranks, possible = _moves(knapsack, now, phase)
        # (groups, units): the active units after the move of each group.
        each = now[None] ^ (moved[None] & (knapsack.group == groups[:, None]))
        fit = jax.vmap(knapsack.total)(each) <= phase.limit
        allowed = possible & jnp.where(phase.prune, knapsack.total(now) > phase.limit, fit)
        best = jnp.argmax(jnp.where(allowed, ranks, -jnp.inf))
        found = jnp.any(allowed)
        return found, jnp.where(found, each[best], now)

    return lax.while_loop(lambda state: state[0], one, (jnp.bool_(True), active))[1]


def _moves(
    knapsack: _Knapsack, active: jax.Array, phase: _Phase
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Returns a move of each group: the units that are pruned or grown together.

    Returns:
      Units that are moved, (units,) bool; the rank of each group's move, (groups,) float32; whether
      it is possible, (groups,) bool.
    """
    count = jnp.sum(knapsack.padded(active, False), 1, dtype=jnp.int32)
    number = jnp.where(phase.prune, knapsack.fewer(count), knapsack.more(count))
    cost, sign = knapsack.marginal(active), jnp.where(phase.prune, -1.0, 1.0)
    free = phase.free & (active == phase.prune)
    keys = jnp.where(free, sign * _ratio(phase.scores, cost), -jnp.inf)
    most = knapsack.members.shape[1]
    highest, at = lax.top_k(knapsack.padded(keys, -jnp.inf), min(knapsack.round_to, most))
    taken = (np.arange(at.shape[1])[None] < number[:, None]) & (highest > -jnp.inf)
    units = jnp.take_along_axis(jnp.asarray(knapsack.members), at, 1)

    def of_moved(values: jax.Array) -> jax.Array:  # padding of `units` is never taken
        return jnp.sum(jnp.where(taken, values[units], 0), 1)

    ranks = sign * _ratio(of_moved(phase.scores), of_moved(cost))
    moved = jnp.zeros(active.shape, bool).at[units].set(taken, mode="drop")
    return moved, ranks, (number > 0) & (jnp.sum(taken, 1) >= number)


def _ratio(score: jax.Array, cost: jax.Array) -> jax.Array:
    return score / jnp.maximum(cost, 1e-30)


def _uniform(knapsack: _Knapsack, limit: jax.Array, key: jax.Array) -> Units:
    """Draws random units, the largest equal fraction of each group whose cost is within a limit."""
    sizes = np.array(list(knapsack.sizes.values()))
    drawn = knapsack.padded(jax.random.uniform(key, knapsack.group.shape), jnp.inf)
    rank = jnp.argsort(jnp.argsort(drawn, 1), 1)[knapsack.members < knapsack.group.size]
    blocks = np.array([is_block(name) for name in knapsack.sizes])

    def of(fraction: jax.Array) -> jax.Array:
        part = jnp.floor(fraction * sizes.astype(np.float32)).astype(jnp.int32)
        # Blocks are active from the beginning.
        return rank < knapsack.at_most(jnp.where(blocks, 1, part))[knapsack.group]

    def half(_: int, ends: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        low, high = ends
        middle = (low + high) / 2
        fine = knapsack.total(of(middle)) <= limit
        return jnp.where(fine, middle, low), jnp.where(fine, high, middle)

    low, _ = lax.fori_loop(0, 24, half, (jnp.float32(0), jnp.float32(1)))
    whole = of(jnp.float32(1))
    fits = knapsack.total(whole) <= limit * (1 + 1e-6)
    return split_by_group(knapsack.sizes, jnp.where(fits, whole, of(low)))
