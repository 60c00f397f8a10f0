"""SET: sparse evolutionary training."""

from gpnas._settings import Count, Density, Fraction
from gpnas.masks import allocate, plasticity, schedule, score
from gpnas.methods._method import Forecast, Method


def set_(
    *,
    density: Density,
    every: Count,
    fraction: Fraction = 0.3,
    allocation: allocate.Allocation = allocate.erk(),
) -> Method:
    """Prunes the smallest weights of each leaf, and grows as many at random, throughout the run.

    Args:
      density: Fraction of active weights, in (0, 1].
      fraction: ζ, fraction of active weights that each mask update prunes; it grows as many.
      every: Steps between mask updates.
      allocation: Splits the density over leaves.

    References:
      Mocanu et al. 2018 (arXiv:1707.04780), algorithm 2.
    """
    curve = schedule.constant(density)
    transform = plasticity(
        drop=score.magnitude(),
        grow=score.random(),
        density=curve,
        churn=schedule.constant(2 * fraction),
        allocation=allocation,
        every=every,
    )
    return Method(transform, Forecast(curve, allocation=allocation))
