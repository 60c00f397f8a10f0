"""Development by units: neurons, channels and blocks grown beyond need, then pruned by use."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gpnas.masks import full, maskable, plasticity, schedule, score
from gpnas.masks.allocate import Allocation, Group, Shapes
from gpnas.masks.schedule import Schedule
from gpnas.methods.method import Method, before
from gpnas.units import (
    UnitGroups,
    groups_in_collection,
    is_block,
    on_units,
    outgoing_masks,
    weight_masks,
)
from gpnas.units import score as unit_score


def development_units(
    *,
    density: float,
    total_steps: int,
    batch_size: int,
    groups: UnitGroups,
    sizes: Mapping[str, int],
    params: Any,
    peak: float = 2.0,
    peak_at: float = 0.1,
    stop_at: float = 0.6,
    churn: float = 0.3,
    decay: float = 0.9,
    every: int,
    window: int,
    protect: int,
    rest: int,
    survival_age: int,
    spare: float = 0.25,
    block_density: float = 1.0,
    block_peak: float = 1.0,
) -> Method:
    """The coupled method on units: one curve, one currency, growth and pruning in the same events.

    Each group's share of living units follows the developmental curve. What is pruned is what costs
    least to lose, U = |Σ ḡw| + ½ΣFw² over the weights that read a unit; what is grown is what gains
    most, V = Σ ḡ²/2(F + ε) over those weights. A dormant unit keeps its own weights and is
    computed, but nothing reads it, so its readers have a gradient that tells its gain; a unit that
    wakes begins with readers of zero, and the network's function does not jump.

    Args:
      density: Adult share of living units in each group, in (0, 1]; also that of the seed network.
      total_steps: Length of the run.
      batch_size: Images a step, for the empirical Fisher.
      groups: Units of the network as it is now.
      sizes: `{group: units}` of the whole supernet, which shares are of.
      params: Its parameters, or their shapes.
      peak: Height of the overshoot as a multiple of `density`.
      peak_at, stop_at: When the peak and the adult density are reached, as fractions of the run.
      churn: Exchanged fraction of the living units at the start; falls as a cosine.
      decay: Of the moving averages of the gradient and its square.
      every: Steps between events.
      window: Steps before each event in which the gradient is looked at.
      protect: Steps for which newborn units are not judged.
      rest: Steps that a pruned unit rests.
      survival_age: If not 0, growth in a group is weighed by how many of its newborns got so old.
      spare: Dormant units that an elastic run has room for, as a fraction of those aimed at, while
        the network develops.
      block_density, block_peak: The same for a network's blocks and edges
        (`gpnas.models.removable_blocks`), which compete with each other: the share that lives in
        the end, and the overshoot.

    References:
      Evci et al. 2022, GradMax (arXiv:2201.05125) for silent newborns whose gradient tells; the
      docs page `development` for the rest.
    """
    stop = round(stop_at * total_steps)
    overshoot = _overshoot(round(peak_at * total_steps), stop)
    own = groups_in_collection(groups)
    share = _shares(sizes, (density, peak), (block_density, block_peak))
    transform = plasticity(
        drop=score.magnitude(),  # of the worth and the gain that `on_units` puts in their places
        grow=score.gradient(),
        density=overshoot,  # of which `share` makes the densities
        churn=schedule.cosine(churn, stop),
        allocation=share,
        every=every,
        stop=stop + every,
        protect=protect,
        rest=rest,
        survival_age=survival_age or None,
        lookahead=every,
    )
    decide = on_units(
        transform,
        own,
        unit_score.removal_cost(own, decay, batch_size),
        unit_score.growth_gain(own, decay, batch_size, denoise=False),
        every=every,
        window=window,
    )

    def targets(step: jax.Array) -> dict[str, jax.Array]:
        counts = share({g.name: (g.size,) for g in own.groups}, overshoot(step))
        return {name: k / len(group) for group, k in counts.items() for name in group}

    course = jax.jit(jax.vmap(targets))

    def room(step: int, ahead: int) -> dict[str, int]:
        soon = np.arange(step, step + ahead + 2 * every, max(every // 4, 1))
        most = {name: round(float(np.max(k))) for name, k in course(soon).items()}
        extra = spare if step < stop else 0.0
        return {name: min(int(np.ceil(k * (1 + extra))), sizes[name]) for name, k in most.items()}

    return Method(
        decide,
        _density(own, params, targets, sizes),
        before(stop, min(window / every, 1.0)),
        learns=lambda masks, state: weight_masks(own, state.units, params),
        held=lambda masks, state: outgoing_masks(own, state.units, params),
        room=room,
    )


def _overshoot(peak: int, stop: int) -> Schedule:
    """The developmental curve from 0 at the seed to 1 at the peak and back."""
    curve = schedule.developmental(1.0, 2.0, peak, stop)
    return lambda step: curve(step) - 1


def _shares(
    sizes: Mapping[str, int], units: tuple[float, float], blocks: tuple[float, float]
) -> Allocation:
    """Each group its share of what the supernet has; blocks compete for theirs.

    Args:
      sizes: `{group: units}` of the supernet.
      units, blocks: (adult density, peak) of each.
    """

    def allocation(shapes: Shapes, overshoot: jax.Array) -> dict[Group, jax.Array]:
        def part_of(size: int, density: float, peak: float) -> jax.Array:
            share = density * (1 + (peak - 1) * overshoot)
            return jnp.clip(jnp.round(share * size).astype(jnp.int32), 1, size)

        pool = tuple(filter(is_block, shapes))
        found: dict[Group, jax.Array] = {
            (name,): jnp.minimum(part_of(sizes[name], *units), shapes[name][0])
            for name in shapes
            if not is_block(name)
        }
        return found | ({pool: part_of(len(pool), *blocks)} if pool else {})

    return allocation


def _density(groups: UnitGroups, params: Any, targets: Any, sizes: Mapping[str, int]) -> Schedule:
    """Expected living fraction of the weights: the product of what lives along their axes."""
    weights = maskable(jax.eval_shape(full, params), params)
    shapes = {path: leaf.shape for path, leaf in weights.items()}
    total = sum(int(np.prod(shape)) for shape in shapes.values())

    def density(step: jax.Array) -> jax.Array:
        wanted = targets(step)
        alive = {path: jnp.float32(np.prod(shape)) for path, shape in shapes.items()}
        for group in groups.groups:
            if group.name in wanted:
                gone = 1 - wanted[group.name] / sizes[group.name]
                for m in group.members:
                    if m.path in alive:
                        alive[m.path] *= 1 - gone * len(m.at) / shapes[m.path][m.axis]
        return sum(alive.values(), jnp.float32(0)) / total

    return density
