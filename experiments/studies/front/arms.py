"""Controls of a front: other ways to decide which units a shrinking network keeps."""

from collections.abc import Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp

from gpnas.masks import allocate, plasticity, score
from gpnas.methods import Method, development_cost
from gpnas.units import (
    CostModel,
    UnitGroups,
    cost_budget,
    fewest_units,
    on_units,
    relative_costs,
)
from gpnas.units import score as unit_score

Kind = Literal["macs", "params", "flops"]


def random_units(*, groups: UnitGroups, costs: CostModel, params: Any, curve: tuple,
                 total_steps: int, batch_size: int, cost: Kind = "macs", every: int, window: int,
                 protect: int) -> Method:  # fmt: skip
    """`development_cost` by random scores per cost."""
    method = development_cost.development_cost(
        groups=groups, costs=costs, params=params, curve=curve, total_steps=total_steps,
        batch_size=batch_size, cost=cost, every=every, window=window, protect=protect,
    )  # fmt: skip
    own = development_cost.with_costs(groups, costs)
    budget, stop = development_cost.cost_schedule(curve, total_steps)
    transform = cost_budget(
        relative_costs(costs, cost), budget, every_steps=every, stop=stop + every,
        least=fewest_units(costs.sizes, 1 / 16),
    )  # fmt: skip
    drawn = unit_score.random(own)
    return method._replace(transform=on_units(transform, own, drawn, drawn, every, window))


def equal_shares(*, groups: UnitGroups, costs: CostModel, params: Any, curve: tuple,
                 total_steps: int, batch_size: int, cost: Kind = "macs", every: int, window: int,
                 protect: int) -> Method:  # fmt: skip
    """`development_cost` where each layer keeps the same fraction of its units, by U."""
    method = development_cost.development_cost(
        groups=groups, costs=costs, params=params, curve=curve, total_steps=total_steps,
        batch_size=batch_size, cost=cost, every=every, window=window, protect=protect,
    )  # fmt: skip
    own = development_cost.with_costs(groups, costs)
    budget, stop = development_cost.cost_schedule(curve, total_steps)
    transform = plasticity(
        drop=score.magnitude(),
        grow=score.gradient(),
        density=budget,
        allocation=_equal(costs, cost),
        every=every,
        stop=stop + every,
    )
    drop = unit_score.removal_cost(own, 0.9, batch_size)
    grow = unit_score.growth_gain(own, 0.9, batch_size, denoise=False)
    return method._replace(transform=on_units(transform, own, drop, grow, every, window))


def _equal(costs: CostModel, kind: str) -> allocate.Allocation:
    """The largest fraction of each layer whose cost is within the budget."""
    relative = relative_costs(costs, kind)

    def counts(fraction: jax.Array) -> dict[str, jax.Array]:
        return {
            name: jnp.maximum(jnp.floor(fraction * size), 1).astype(jnp.int32)
            for name, size in costs.sizes.items()
        }

    def allocation(shapes: Mapping[str, Any], budget: jax.Array) -> dict[allocate.Group, jax.Array]:
        def half(_: int, ends: tuple) -> tuple:
            low, high = ends
            middle = (low + high) / 2
            masks = {n: jnp.arange(costs.sizes[n]) < k for n, k in counts(middle).items()}
            fits = relative.total(masks) <= budget * (1 + 1e-6)
            return jnp.where(fits, middle, low), jnp.where(fits, high, middle)

        low, _ = jax.lax.fori_loop(0, 16, half, (jnp.float32(0), jnp.float32(1.00001)))
        return {(n,): jnp.minimum(counts(low)[n], shapes[n][0]) for n in shapes}

    return allocation
