"""Controls of a front: other criteria for the units that a shrinking network keeps.

Each is `development_cost` with the same arguments and another transform.
"""

import functools
import inspect
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp

from gpnas.masks import MaskTransform, allocate, plasticity, schedule, score
from gpnas.methods import Method, development_cost
from gpnas.units import CostModel, UnitGroups, cost_budget, fewest_units, on_units, relative_costs
from gpnas.units import score as unit_score

_make = development_cost.development_cost
_CHURN = 0.2  # fraction of the cost that is initially exchanged


def _control(transform: Callable[[UnitGroups, SimpleNamespace], MaskTransform]) -> Any:
    """Makes `development_cost` with another transform of weights."""

    def arm(**fields: Any) -> Method:
        given = inspect.signature(_make).bind(**fields)
        given.apply_defaults()
        settings = SimpleNamespace(**given.arguments)
        groups = development_cost.with_costs(settings.groups, settings.costs)
        return _make(**fields)._replace(transform=transform(groups, settings))

    functools.update_wrapper(arm, _make)
    arm.__doc__ = transform.__doc__
    return arm


def _scores(groups: UnitGroups, settings: SimpleNamespace) -> tuple[Any, Any]:
    return (
        unit_score.removal_cost(groups, settings.decay, settings.batch_size),
        unit_score.growth_gain(groups, settings.decay, settings.batch_size),
    )


def _budget(settings: SimpleNamespace, churn: float = 0.0) -> MaskTransform:
    level, stop = development_cost.cost_schedule(settings.curve, settings.total_steps)
    return cost_budget(
        relative_costs(settings.costs, settings.cost),
        level,
        schedule.cosine(churn, stop),
        least=fewest_units(settings.costs.sizes, settings.floor),
        every_steps=settings.every,
        stop=stop + settings.every,
    )


@_control
def exchange(groups: UnitGroups, settings: SimpleNamespace) -> MaskTransform:
    """Initially exchanges a fifth of the cost at each mask update: prunes more, and regrows."""
    scores = _scores(groups, settings)
    return on_units(_budget(settings, _CHURN), groups, *scores, settings.every, settings.window)


@_control
def random_units(groups: UnitGroups, settings: SimpleNamespace) -> MaskTransform:
    """Uses random scores per cost."""
    drawn = unit_score.random(groups)
    return on_units(_budget(settings), groups, drawn, drawn, settings.every, settings.window)


@_control
def equal_shares(groups: UnitGroups, settings: SimpleNamespace) -> MaskTransform:
    """Keeps the same fraction of units in each layer, selected by U."""
    level, stop = development_cost.cost_schedule(settings.curve, settings.total_steps)
    transform = plasticity(
        drop=score.magnitude(),
        grow=score.gradient(),
        density=level,
        allocation=_equal(settings.costs, settings.cost),
        every=settings.every,
        stop=stop + settings.every,
    )
    scores = _scores(groups, settings)
    return on_units(transform, groups, *scores, settings.every, settings.window)


def _equal(costs: CostModel, kind: str) -> allocate.Allocation:
    """Returns the largest fraction of each layer whose cost is within the budget."""
    relative = relative_costs(costs, kind)

    def at(fraction: jax.Array) -> dict[str, jax.Array]:
        return {
            name: jnp.maximum(jnp.floor(fraction * size), 1).astype(jnp.int32)
            for name, size in costs.sizes.items()
        }

    def counts(shapes: Mapping[str, Any], budget: jax.Array) -> dict[allocate.Group, jax.Array]:
        def half(_: int, ends: tuple) -> tuple:
            low, high = ends
            middle = (low + high) / 2
            masks = {n: jnp.arange(costs.sizes[n]) < k for n, k in at(middle).items()}
            fits = relative.total(masks) <= budget * (1 + 1e-6)
            return jnp.where(fits, middle, low), jnp.where(fits, high, middle)

        low, _ = jax.lax.fori_loop(0, 16, half, (jnp.float32(0), jnp.float32(1.00001)))
        return {(n,): jnp.minimum(at(low)[n], shapes[n][0]) for n in shapes}

    return allocate.Allocation(counts)
