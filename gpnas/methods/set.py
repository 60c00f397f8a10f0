"""SET: sparse evolutionary training."""

from gpnas.masks import plasticity, schedule, score
from gpnas.masks.allocate import Allocation, erk
from gpnas.methods.method import Method


def set_(
    *, density: float, every: int, fraction: float = 0.3, allocation: Allocation = erk()
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
    return Method(transform, curve)
