"""Iterative magnitude pruning: the same fraction is cut again and again, with training between."""

import jax.numpy as jnp

from gpnas.masks import allocate
from gpnas.methods._method import Method, magnitude_at_jumps, step_at
from gpnas.methods._settings import Count, Density, Fraction


def iterative(
    *,
    density: Density,
    total_steps: int,
    rounds: Count = 10,
    start_at: Fraction = 0.1,
    stop_at: Fraction = 0.75,
    allocation: allocate.Allocation = allocate.global_(),
) -> Method:
    """Cuts to density^(i / rounds) at the i-th of evenly spaced rounds.

    Args:
      density: Final living fraction, in (0, 1].
      total_steps: Length of the run.
      rounds: Cuts, each of the same fraction of what is left.
      start_at, stop_at: When the first and the last cut are made, as fractions of the run.
      allocation: How the density is spread over the leaves.

    References:
      Han et al. 2015 (arXiv:1506.02626); without the rewinding of lottery tickets.
    """
    start, stop = step_at(start_at, total_steps), step_at(stop_at, total_steps)

    def curve(step):
        done = 1 + (step - start) * (rounds - 1) // max(stop - start, 1)
        done = jnp.where(step >= stop, rounds, jnp.where(step >= start, done, 0))
        return jnp.float32(density) ** (done / rounds)

    return magnitude_at_jumps(curve, allocation)
