"""GraNet: gradual pruning with zero-cost neuroregeneration."""

from gpnas._settings import Count, Density, Fraction
from gpnas.masks import allocate, budget, plasticity, schedule, score
from gpnas.methods._method import Forecast, Method, rate_until, step_at


def granet(
    *,
    density: Density,
    total_steps: int,
    first: Density = 0.5,
    fraction: Fraction = 0.5,
    every: Count,
    stop_at: Fraction = 0.75,
    allocation: allocate.Allocation = allocate.erk(),
) -> Method:
    """Prunes along a cubic curve from a sparse start, and exchanges weights in the same updates.

    Args:
      density: Final density, in (0, 1].
      total_steps: Length of the run.
      first: Initial density, with random masks.
      fraction: p, initial fraction of active weights pruned and regrown in addition to the curve;
        cosine decay.
      every: Steps between mask updates.
      stop_at: End of both, as a fraction of the run.
      allocation: Splits the density over leaves.

    References:
      Liu et al. 2021 (arXiv:2106.10404), algorithm 1.
    """
    stop = step_at(stop_at, total_steps, every)
    curve = schedule.cubic(first, density, 0, stop)
    transform = plasticity(
        drop=score.magnitude(),
        grow=score.gradient(),
        density=curve,
        budget=budget.track_density(schedule.cosine(2 * fraction, stop), on_top=True),
        allocation=allocation,
        every=every,
        stop=stop + 1,
    )
    held = schedule.at_mask_updates(curve, every)
    return Method(transform, Forecast(held, rate_until(stop, 1 / every), allocation=allocation))
