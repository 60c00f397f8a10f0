"""Expected training cost of a method whose layers differ in MACs per weight."""

import math
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from gpnas.masks import allocate, schedule
from gpnas.methods._method import Forecast
from gpnas.units import training_macs

# Densities at which an allocation is computed; between them, MACs are interpolated. They are dense
# near 0, since the MACs at low densities determine the cost of a sparse run.
_DENSITIES = np.linspace(0, 1, 1025, dtype=np.float32) ** 2


def training_cost(
    forecast: Forecast,
    steps: int,
    shapes: allocate.Shapes,
    macs: Mapping[str, float] | None = None,
) -> tuple[float, float]:
    """Computes the expected training cost of masked layers, relative to dense training of them.

    Leaves that compete for one number of weights are expected to have equal densities.

    Args:
      forecast: Forecast of the method.
      steps: Length of the run.
      shapes: Shapes of the masked leaves by path.
      macs: MACs of one weight by path, 0 for others; None: equal in all layers.

    Returns:
      `(training FLOPs / those of dense training, mean density)`.
    """
    active = _active_macs(forecast, shapes, macs or {})
    fraction, mean_density = training_macs(forecast.density, forecast.dense_gradient, steps, active)
    return fraction * forecast.relative_step_cost, mean_density


def _active_macs(
    forecast: Forecast, shapes: allocate.Shapes, macs: Mapping[str, float]
) -> schedule.Schedule | None:
    """Returns `step → fraction of the MACs that is active`; None: equal to the density."""
    split = forecast.allocation
    each = {path: macs.get(path, 0.0) * math.prod(own) for path, own in shapes.items()}
    total = sum(each.values())
    if split is None or not total or len({macs.get(path, 0.0) for path in shapes}) < 2:
        return None
    costs = split.weight_costs(shapes)
    most = {path: costs.get(path, 1) * math.prod(own) for path, own in shapes.items()}

    def fraction(density: jax.Array) -> jax.Array:
        parts = [
            count.astype(float) * sum(each[p] for p in group) / max(sum(most[p] for p in group), 1)
            for group, count in split(shapes, density).items()
        ]
        return jnp.sum(jnp.stack(parts)) / total

    # Not jitted: the programs of `allocate` are compiled once for all calls.
    known = jax.vmap(fraction)(jnp.asarray(_DENSITIES))
    return lambda step: jnp.interp(forecast.density(step), _DENSITIES, known)
