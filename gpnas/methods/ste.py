"""Straight-through magnitude pruning: a sparse forward pass, updates of all weights."""

from gpnas._settings import Count, Density
from gpnas.masks import allocate, ranking, schedule, score, select
from gpnas.methods._method import Forecast, Method, all_ones


def ste(
    *,
    density: Density,
    every: Count = 1,
    allocation: allocate.Allocation = allocate.uniform(),
    select: select.Select | None = None,
) -> Method:
    """Computes the forward pass with the largest weights; all weights are updated.

    Args:
      density: Fraction of active weights, in (0, 1].
      every: Steps between mask updates.
      allocation: Splits the density over leaves.
      select: `n_of_m(2, 4)` for N:M training; None: the highest scores.

    References:
      Bengio et al. 2013 (arXiv:1308.3432); Zhou et al. 2021 (arXiv:2102.04010) for N:M, whose
      baseline this is: their SR-STE also decays inactive weights.
    """
    curve = schedule.constant(density)

    transform = ranking(score.magnitude(), curve, allocation=allocation, every=every, select=select)
    forecast = Forecast(curve, schedule.constant(1.0), allocation=allocation)
    return Method(transform, forecast, update_mask=all_ones, zero_mask=all_ones)
