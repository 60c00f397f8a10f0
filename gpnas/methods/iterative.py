"""Iterative magnitude pruning: the same fraction is cut again and again, with training between."""

import jax.numpy as jnp

from gpnas.masks import plasticity, schedule, score
from gpnas.masks.allocate import Allocation, global_
from gpnas.methods.method import Method


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
    start, stop = round(start_at * total_steps), round(stop_at * total_steps)
    every = max((stop - start) // max(rounds - 1, 1), 1)

    def curve(step):
        done = jnp.clip((step - start) // every + 1, 0, rounds)
        return jnp.float32(density) ** (done / rounds)

    transform = plasticity(
        drop=score.magnitude(),
        grow=score.random(),
        density=curve,
        allocation=allocation,
        every=1,
        start=start,
    )
    return Method(transform, curve, schedule.constant(0.0))
