"""Iterative magnitude pruning: prunes equal fractions in rounds, with training in between."""

import jax.numpy as jnp

from gpnas._settings import Count, Density, Fraction
from gpnas.masks import allocate
from gpnas.methods._method import Method, magnitude_at_jumps, step_at


def iterative(
    *,
    density: Density,
    total_steps: int,
    rounds: Count = 10,
    start_at: Fraction = 0.1,
    stop_at: Fraction = 0.75,
    allocation: allocate.Allocation = allocate.global_(),
) -> Method:
    """Prunes to density^(i / rounds) at the i-th of evenly spaced rounds.

    Args:
      density: Final density, in (0, 1].
      total_steps: Length of the run.
      rounds: Number of rounds, each pruning the same fraction of the remaining weights.
      start_at, stop_at: Times of the first and the last round, as fractions of the run.
      allocation: Splits the density over leaves.

    References:
      Han et al. 2015 (arXiv:1506.02626); without rewinding of weights.
    """
    start, stop = step_at(start_at, total_steps), step_at(stop_at, total_steps)

    def curve(step):
        done = 1 + (step - start) * (rounds - 1) // max(stop - start, 1)
        done = jnp.where(step >= stop, rounds, jnp.where(step >= start, done, 0))
        return jnp.float32(density) ** (done / rounds)

    return magnitude_at_jumps(curve, allocation)
