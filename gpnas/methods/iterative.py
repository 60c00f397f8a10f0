"""Iterative magnitude pruning: the same fraction is cut again and again, with training between."""

import jax.numpy as jnp

from gpnas.masks.allocate import Allocation, global_
from gpnas.methods.method import Method, by_magnitude_at_jumps, moment


def iterative(
    *,
    density: float,
    total_steps: int,
    rounds: int = 10,
    start_at: float = 0.1,
    stop_at: float = 0.75,
    allocation: Allocation = global_(),
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
    start, stop = moment(start_at, total_steps), moment(stop_at, total_steps)

    def curve(step):
        done = 1 + (step - start) * (rounds - 1) // max(stop - start, 1)
        done = jnp.where(step >= stop, rounds, jnp.where(step >= start, done, 0))
        return jnp.float32(density) ** (done / rounds)

    return by_magnitude_at_jumps(curve, allocation)
