"""Development on units: coupled growth and pruning of neurons, channels and blocks."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gpnas._settings import Count, Decay, Density, Fraction, Multiple, NonNegative
from gpnas.errors import UserError
from gpnas.masks import allocate, init_masks, masked_leaves, plasticity, schedule, score
from gpnas.methods._method import Hooks, Method, forecast_developmental
from gpnas.methods._units import by_gain, unit_method
from gpnas.units import UnitGroups, groups_in_params, is_block


def development_units(
    *,
    density: Density,
    total_steps: int,
    batch_size: int,
    groups: UnitGroups,
    sizes: Mapping[str, int],
    params: Any,
    peak: Multiple = 2.0,
    peak_at: Fraction = 0.1,
    stop_at: Fraction = 0.6,
    churn: NonNegative = 0.3,
    decay: Decay = 0.9,
    every: Count,
    window: Count,
    spare: NonNegative = 0.25,
    block_density: Density = 1.0,
    block_peak: Multiple = 1.0,
) -> Method:
    """Couples growth and pruning of units in the same mask updates.

    The active fraction of each group of units follows the developmental curve. Units with the
    lowest `U = |Σ ḡw| + ½ΣFw²` are pruned, and units with the highest `V = Σ ḡ² / (2(F + ε))` are
    grown, with sums over the outgoing weights of a unit. An inactive unit keeps its incoming
    weights and is computed, but its outgoing weights are zero; V is computed from their gradient. A
    grown unit starts with zero outgoing weights, which preserves the function of the network.

    Args:
      density: Final active fraction of each group, in (0, 1]; also the initial one.
      total_steps: Length of the run.
      batch_size: Examples per step, for the empirical Fisher.
      groups: Unit groups of the current network.
      sizes: `{group: units}` of the full supernet, to which fractions refer.
      params: Parameters of the current network, or their shapes.
      peak: Height of the overshoot as a multiple of `density`.
      peak_at, stop_at: Times at which the peak and the final density are reached, as fractions of
        the run.
      churn: Initial exchanged fraction of active units; cosine decay.
      decay: Decay of the moving averages of the gradient and its square.
      every: Steps between mask updates.
      window: Steps before each mask update in which statistics of the gradient are updated.
      spare: Spare capacity of an elastic run for inactive units, as a fraction of the target, until
        `stop_at`.
      block_density, block_peak: `density` and `peak` for blocks and edges
        (`gpnas.models.removable_blocks`), which compete with each other.

    Raises:
      UserError: If the network has no units to prune.

    References:
      Evci et al. 2022, GradMax (arXiv:2201.05125) for growth that keeps the function: its incoming
      weights are zero, here the outgoing ones are; the docs page `development`.
    """
    stop = round(stop_at * total_steps)
    overshoot = _overshoot(round(peak_at * total_steps), stop)
    own = groups_in_params(groups)
    if not own.groups:
        raise UserError("method.name", "development_units", "a network with units to prune")
    share = _shares(sizes, (density, peak), (block_density, block_peak))
    transform = plasticity(
        drop=score.magnitude(),  # `on_units` replaces params and grads by the scores of units
        grow=score.gradient(),
        density=overshoot,  # `share` computes the densities from it
        churn=schedule.cosine(churn, stop),
        allocation=share,
        every=every,
        stop=stop + every,
        regrow=False,
        lookahead=every,
    )
    on_outgoing = by_gain(transform, own, decay, batch_size, every, window)
    targets = _targets(own, share, overshoot)
    capacity = _capacity(targets, sizes, every, lambda step: spare if step < stop else 0.0)
    density_of_weights = _density(own, params, targets, sizes)
    forecast = forecast_developmental(density_of_weights, stop, every, window)
    return unit_method(on_outgoing, own, params, forecast, hooks=Hooks(capacity=capacity))


def _overshoot(peak: int, stop: int) -> schedule.Schedule:
    """The developmental curve, scaled to 0 at the start and the end and 1 at the peak."""
    curve = schedule.developmental(1.0, 2.0, peak, stop)
    return lambda step: curve(step) - 1


def _shares(
    sizes: Mapping[str, int], units: tuple[float, float], blocks: tuple[float, float]
) -> allocate.Allocation:
    """Makes an allocation by fractions of the supernet; blocks compete with each other.

    Args:
      sizes: `{group: units}` of the supernet.
      units, blocks: (final density, peak) of each.
    """

    def counts(shapes: allocate.Shapes, overshoot: jax.Array) -> dict[allocate.Group, jax.Array]:
        def part_of(size: int, density: float, peak: float) -> jax.Array:
            share = density * (1 + (peak - 1) * overshoot)
            return jnp.clip(jnp.round(share * size).astype(jnp.int32), 1, size)

        pool = tuple(filter(is_block, shapes))
        found: dict[allocate.Group, jax.Array] = {
            (name,): jnp.minimum(part_of(sizes[name], *units), shapes[name][0])
            for name in shapes
            if not is_block(name)
        }
        return found | ({pool: part_of(len(pool), *blocks)} if pool else {})

    return allocate.Allocation(counts)


def _targets(
    groups: UnitGroups, share: allocate.Allocation, overshoot: schedule.Schedule
) -> Callable[[jax.Array], dict[str, jax.Array]]:
    """Returns the mean active units per group at a step; blocks share their total equally."""

    def targets(step: jax.Array) -> dict[str, jax.Array]:
        counts = share({g.name: (g.size,) for g in groups.groups}, overshoot(step))
        return {name: k / len(group) for group, k in counts.items() for name in group}

    return targets


def _capacity(
    targets: Callable[[jax.Array], dict[str, jax.Array]],
    sizes: Mapping[str, int],
    every: int,
    spare: Callable[[int], float],
) -> Callable[[int, int, Mapping[str, int]], dict[str, int]]:
    """Makes `Hooks.capacity`: the largest targets of the next steps, plus spare units."""
    curves = jax.jit(jax.vmap(targets))

    def capacity(step: int, ahead: int, active: Mapping[str, int]) -> dict[str, int]:
        del active
        soon = np.arange(step, step + ahead + 2 * every, max(every // 4, 1))
        most = {name: round(float(np.max(k))) for name, k in curves(soon).items()}
        extra = 1 + spare(step)
        return {name: min(int(np.ceil(k * extra)), sizes[name]) for name, k in most.items()}

    return capacity


def _density(
    groups: UnitGroups, params: Any, targets: Any, sizes: Mapping[str, int]
) -> schedule.Schedule:
    """Returns the expected density of weights: the product of active fractions along their axes."""
    weights = masked_leaves(jax.eval_shape(init_masks, params), params)
    shapes = {path: leaf.shape for path, leaf in weights.items()}
    total = sum(int(np.prod(shape)) for shape in shapes.values())

    def density(step: jax.Array) -> jax.Array:
        wanted = targets(step)
        active = {path: jnp.float32(np.prod(shape)) for path, shape in shapes.items()}
        for group in groups.groups:
            if group.name in wanted:
                removed = 1 - wanted[group.name] / sizes[group.name]
                for m in group.members:
                    if m.path in active:
                        active[m.path] *= 1 - removed * len(m.at) / shapes[m.path][m.axis]
        return sum(active.values(), jnp.float32(0)) / total

    return density
