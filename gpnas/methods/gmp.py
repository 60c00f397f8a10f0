"""Gradual magnitude pruning (GMP)."""

from gpnas.masks import plasticity, schedule, score
from gpnas.masks.allocate import Allocation, global_
from gpnas.methods.method import Method, moment


def gmp(
    *,
    density: float,
    total_steps: int,
    first: float = 1.0,
    start_at: float = 0.0,
    stop_at: float = 0.75,
    every: int,
    allocation: Allocation = global_(),
) -> Method:
    """Prunes the smallest weights along a cubic curve; what is gone stays gone.

    Args:
      density: Final living fraction, in (0, 1].
      total_steps: Length of the run.
      first: Density at the start; below 1 the start is random and sparse.
      start_at, stop_at: When pruning begins and ends, as fractions of the run.
      every: Steps between events.
      allocation: `global_` lets the leaves compete; `uniform` is the paper's layerwise pruning.

    References:
      Zhu & Gupta 2017 (arXiv:1710.01878), equation 1.
    """
    stop = moment(stop_at, total_steps, every)
    curve = schedule.cubic(first, density, min(round(start_at * total_steps), stop), stop)
    transform = plasticity(
        drop=score.magnitude(),
        grow=score.random(),
        density=curve,
        allocation=allocation,
        every=every,
    )
    return Method(transform, curve)
