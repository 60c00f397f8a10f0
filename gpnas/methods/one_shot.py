"""One-shot magnitude pruning: train, prune once, fine-tune."""

import jax.numpy as jnp

from gpnas._settings import Density, Fraction
from gpnas.masks import allocate, ranking, score, select
from gpnas.methods._method import Forecast, Method, step_at


def one_shot(
    *,
    density: Density,
    total_steps: int,
    at: Fraction = 0.5,
    allocation: allocate.Allocation = allocate.global_(),
    select: select.Select | None = None,
) -> Method:
    """Prunes a dense network once by magnitude and trains the remaining weights.

    Args:
      density: Density after pruning, in (0, 1].
      total_steps: Length of the run.
      at: Time of pruning, as a fraction of the run.
      allocation: Splits the density over leaves.
      select: A structured selection: `n_of_m(2, 4)`, `blocks((4, 4))`; None: the highest scores.

    References:
      Han et al. 2015 (arXiv:1506.02626).
    """
    cut = step_at(at, total_steps)

    def curve(step):
        return jnp.where(step < cut, 1.0, jnp.float32(density))

    transform = ranking(
        score.magnitude(), curve, allocation=allocation, select=select, start=cut, stop=cut + 1
    )
    return Method(transform, Forecast(curve, allocation=allocation))
