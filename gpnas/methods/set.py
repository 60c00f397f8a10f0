"""SET: sparse evolutionary training."""

from gpnas.masks import allocate, plasticity, schedule, score
from gpnas.methods._method import Forecast, Method
from gpnas.methods._settings import Count, Density, Fraction


def set_(
    *,
    density: Density,
    every: Count,
    fraction: Fraction = 0.3,
    allocation: allocate.Allocation = allocate.erk(),
) -> Method:
    """Drops the smallest weights of each leaf and grows as many at random, to the end of the run.

    Args:
      density: Living fraction, in (0, 1].
      fraction: ζ, exchanged fraction of the living at each event.
      every: Steps between events.
      allocation: How the density is spread over the leaves.

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
    return Method(transform, Forecast(curve))
