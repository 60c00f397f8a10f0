"""Straight-through magnitude: sparse forward, dense learning."""

from gpnas.masks import allocate, ranking, schedule, score, select
from gpnas.methods._method import Forecast, Method, all_ones
from gpnas.methods._settings import Count, Density


def ste(
    *,
    density: Density,
    every: Count = 1,
    allocation: allocate.Allocation = allocate.uniform(),
    select: select.Select = select.exact_top_k,
) -> Method:
    """The largest weights are used; all of them learn from the gradient at the masked point.

    Args:
      density: Living fraction, in (0, 1].
      every: Steps between looks at which are the largest.
      allocation: How the density is spread over the leaves.
      select: `exact_top_k`, or `n_of_m(2, 4)` for N:M training.

    References:
      Bengio et al. 2013 (arXiv:1308.3432); Zhou et al. 2021 (arXiv:2102.04010) for N:M.
    """
    curve = schedule.constant(density)

    transform = ranking(score.magnitude(), curve, allocation=allocation, every=every, select=select)
    forecast = Forecast(curve, schedule.constant(1.0))
    return Method(transform, forecast, update_mask=all_ones, zero_mask=all_ones)
