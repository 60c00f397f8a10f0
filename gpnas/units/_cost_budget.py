"""Units under a cost budget: the units of all groups compete by score per marginal cost."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from gpnas.masks import MaskContext, MaskTransform, between, cond_inplace, every, schedule
from gpnas.units._blocks import is_block
from gpnas.units.cost import (
    CostModel,
    LatencyTable,
    total_cost,
    total_latency,
    unit_cost,
    unit_latency,
)

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
    counts = _Counts(cost.sizes, least, round_to)

    def init_fn(masks: Units, params: Units, key: jax.Array) -> tuple[Units, tuple[()]]:
        del params
        return _uniform(cost, masks, counts, budget(jnp.int32(0)), key), ()

    def update_fn(masks: Units, state: tuple[()], ctx: MaskContext) -> tuple[Units, tuple[()]]:
        def at_update(active: Units) -> Units:
            limit = budget(ctx.step)
            low = jnp.minimum(limit, cost.total(active)) * (1 - exchange(ctx.step))
            return _exchange(cost, counts, active, ctx, low, limit)

        return cond_inplace(ctx.may_update, at_update, masks), state

    transform = MaskTransform(init_fn, update_fn, may_observe=schedule.never)
    return every(between(transform, 1, stop), every_steps)


class _Counts(NamedTuple):
    """Allowed numbers of units of a group: multiples from the fewest on, and the group's size.

    Attributes:
      sizes: `{group: units}` of the whole network; a compacted one has fewer.
      least: `{group: units}`, minimum numbers of active units.
      round_to: The numbers are multiples of it.
    """

    sizes: Mapping[str, int]
    least: Mapping[str, int]
    round_to: int

    def at_most(self, name: str, count: jax.Array) -> jax.Array:
        """Returns the largest allowed number up to `count`, or the fewest."""
        size = self.sizes[name]
        down = jnp.where(count >= size, size, count // self.round_to * self.round_to)
        return jnp.maximum(down, self.least[name]).astype(jnp.int32)

    def fewer(self, name: str, mask: jax.Array) -> jax.Array:
        """Returns how many units to prune to reach the next allowed number; 0 at the fewest."""
        count = jnp.sum(mask, dtype=jnp.int32)
        return jnp.maximum(count - self.at_most(name, count - 1), 0)

    def more(self, name: str, mask: jax.Array) -> jax.Array:
        """Returns how many units to grow to reach the next allowed number; 0 at the full size."""
        count = jnp.sum(mask, dtype=jnp.int32)
        above = (count // self.round_to + 1) * self.round_to
        return jnp.minimum(above, self.sizes[name]) - count


class _Moves(NamedTuple):
    """Candidate moves: units of each group that are pruned or grown together.

    Attributes:
      units: `{group: (size,) bool}`.
      ranks: `{group: () float32}`; the move of highest rank is applied first.
      allowed: `{group: () bool}`.
    """

    units: Units
    ranks: dict[str, jax.Array]
    allowed: dict[str, jax.Array]


def _exchange(
    cost: Costs,
    counts: _Counts,
    active: Units,
    ctx: MaskContext,
    low: jax.Array,
    limit: jax.Array,
) -> Units:
    """Prunes to the lower limit, grows to the upper one, then regrows pruned units that fit."""
    kept = _prune(cost, ctx.params, counts, active, low)
    inactive = {n: ~m & (ctx.grads[n] > 0) for n, m in active.items()}
    pruned = {n: active[n] & ~kept[n] for n in active}
    grow = functools.partial(_grow, cost, limit, counts)
    # Units that were inactive before are grown only to complete a multiple.
    again = {n: jnp.where(m, ctx.params[n], 0) for n, m in pruned.items()}
    either = {n: m | inactive[n] for n, m in pruned.items()}
    return _in_turn(grow, kept, (ctx.grads, inactive), (again, either))


def _in_turn(f: Callable[..., Units], active: Units, *arguments: tuple[Any, ...]) -> Units:
    """Applies `f(active, *a)` for each tuple of arguments in sequence, compiled once."""
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *arguments)
    return lax.scan(lambda active, a: (f(active, *a), None), active, stacked)[0]


def _prune(cost: Costs, scores: Units, counts: _Counts, active: Units, limit: jax.Array) -> Units:
    """Prunes units of lowest score per cost until the total is within the limit."""

    def moves(active: Units) -> _Moves:
        costs, above, found = cost.marginal(active), cost.total(active) > limit, _Moves({}, {}, {})
        for name, mask in active.items():
            free = mask & ~jnp.isnan(scores[name])
            number = counts.fewer(name, mask)
            ratio = _ratio(scores[name], costs[name])
            found.units[name] = _lowest(ratio, free, number, counts.round_to)
            found.ranks[name] = -_joint_ratio(found.units[name], scores[name], costs[name])
            found.allowed[name] = above & (number > 0) & (jnp.sum(free) >= number)
        return found

    return _greedy(active, moves)


def _grow(
    cost: Costs, limit: jax.Array, counts: _Counts, active: Units, scores: Units, where: Units
) -> Units:
    """Activates units of highest score per cost while they fit."""

    def moves(active: Units) -> _Moves:
        costs, found, possible = cost.marginal(active), _Moves({}, {}, {}), {}
        for name, mask in active.items():
            free, number = ~mask & where[name], counts.more(name, mask)
            possible[name] = (number > 0) & (jnp.sum(free) >= number)
            ratio = _ratio(scores[name], costs[name])
            found.units[name] = _lowest(-ratio, free, number, counts.round_to)
            found.ranks[name] = _joint_ratio(found.units[name], scores[name], costs[name])
        each = jnp.eye(len(active), dtype=bool)
        wider = {
            n: m[None] | (each[:, i, None] & found.units[n][None])
            for i, (n, m) in enumerate(active.items())
        }
        fits = jax.vmap(cost.total)(wider) <= limit
        allowed = {n: possible[n] & fits[i] for i, n in enumerate(active)}
        return found._replace(allowed=allowed)

    return _greedy(active, moves)


def _greedy(active: Units, moves: Callable[[Units], _Moves]) -> Units:
    """Applies the allowed move of highest rank (the first of equal ones) until none is allowed.

    A GPU synchronizes with its host after each move. A loop of static length would need one
    iteration per unit, each of which recomputes all moves; a mask update needs few moves.
    """

    def one(state: tuple[jax.Array, Units]) -> tuple[jax.Array, Units]:
        _, active = state
        found = moves(active)
        allowed = jnp.stack([found.allowed[n] for n in active])
        best = jnp.argmax(jnp.where(allowed, jnp.stack([found.ranks[n] for n in active]), -jnp.inf))
        chosen = allowed & (jnp.arange(len(active)) == best)
        after = {n: m ^ (found.units[n] & chosen[i]) for i, (n, m) in enumerate(active.items())}
        return jnp.any(chosen), after

    return lax.while_loop(lambda state: state[0], one, (jnp.bool_(True), active))[1]


def _lowest(keys: jax.Array, free: jax.Array, number: jax.Array, most: int) -> jax.Array:
    """Marks the `number` free units of lowest key (the first of equal ones); (size,) bool."""
    least, at = lax.top_k(jnp.where(free, -keys, -jnp.inf), min(most, keys.size))
    taken = (jnp.arange(at.size) < number) & (least > -jnp.inf)
    return jnp.zeros(keys.shape, bool).at[at].set(taken)


def _ratio(score: jax.Array, cost: jax.Array) -> jax.Array:
    return score.astype(jnp.float32) / jnp.maximum(cost, 1e-30)


def _joint_ratio(units: jax.Array, score: jax.Array, cost: jax.Array) -> jax.Array:
    """Returns the score per cost of several units together; () float32."""
    total = jnp.sum(jnp.where(units, score, 0), dtype=jnp.float32)
    return _ratio(total, jnp.sum(jnp.where(units, cost, 0)))


def _part(fraction: jax.Array, size: int) -> jax.Array:
    return jnp.floor(fraction * size).astype(jnp.int32)


def _uniform(cost: Costs, masks: Units, counts: _Counts, limit: jax.Array, key: jax.Array) -> Units:
    """Draws random units, the largest equal fraction of each group whose cost is within a limit."""
    keys = jax.random.split(key, len(masks))
    rank = {
        n: jax.random.permutation(k, m.size) for k, (n, m) in zip(keys, masks.items(), strict=True)
    }

    def of(fraction: jax.Array) -> Units:
        return {
            # Blocks are active from the beginning.
            n: rank[n] < counts.at_most(n, jnp.int32(1) if is_block(n) else _part(fraction, m.size))
            for n, m in masks.items()
        }

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
