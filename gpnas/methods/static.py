"""Static sparse training: random masks that never change."""

from gpnas._settings import Density
from gpnas.masks import allocate, plasticity, schedule, score
from gpnas.methods._method import Forecast, Method


def static(*, density: Density, allocation: allocate.Allocation = allocate.erk()) -> Method:
    """Draws random masks of the given density once; Erdős–Rényi-kernel densities by default.

    Args:
      density: Fraction of active weights, in (0, 1].
      allocation: Splits the density over leaves.

    References:
      Mocanu et al. 2018 (arXiv:1707.04780); Liu et al. 2022 (arXiv:2202.02643).
    """
    curve = schedule.constant(density)
    transform = plasticity(
        drop=score.magnitude(), grow=score.random(), density=curve, allocation=allocation, stop=0
    )
    return Method(transform, Forecast(curve, allocation=allocation))
