"""Gradual magnitude pruning (GMP)."""

from gpnas._settings import Count, Density, Fraction
from gpnas.masks import allocate, plasticity, schedule, score
from gpnas.methods._method import Forecast, Method, step_at


def gmp(
    *,
    density: Density,
    total_steps: int,
    first: Density = 1.0,
    start_at: Fraction = 0.0,
    stop_at: Fraction = 0.75,
    every: Count,
    allocation: allocate.Allocation = allocate.global_(),
) -> Method:
    """Prunes the smallest weights along a cubic curve; pruned weights are not regrown.

    Args:
      density: Final density, in (0, 1].
      total_steps: Length of the run.
      first: Initial density; below 1, the initial masks are random.
      start_at, stop_at: Start and end of pruning, as fractions of the run.
      every: Steps between mask updates.
      allocation: With `global_`, leaves compete; `uniform` is the paper's layerwise pruning.

    References:
      Zhu & Gupta 2017 (arXiv:1710.01878), equation 1.
    """
    stop = step_at(stop_at, total_steps, every)
    curve = schedule.cubic(first, density, min(round(start_at * total_steps), stop), stop)
    transform = plasticity(
        drop=score.magnitude(),
        grow=score.random(),
        density=curve,
        allocation=allocation,
        every=every,
        stop=stop + 1,
    )
    return Method(
        transform, Forecast(schedule.at_mask_updates(curve, every), allocation=allocation)
    )
