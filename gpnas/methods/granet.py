"""GraNet: gradual pruning with zero-cost neuroregeneration."""

from gpnas.masks import plasticity, schedule, score
from gpnas.masks.allocate import Allocation, erk
from gpnas.masks.budget import by_curve
from gpnas.methods.method import Method, before, moment


def granet(
    *,
    density: float,
    total_steps: int,
    first: float = 0.5,
    fraction: float = 0.5,
    every: int,
    stop_at: float = 0.75,
    allocation: Allocation = erk(),
) -> Method:
    """Prunes along a cubic curve from a sparse start, and exchanges weights in the same events.

    Args:
      density: Final living fraction, in (0, 1].
      total_steps: Length of the run.
      first: Density at the start, random.
      fraction: p, pruned and regrown fraction of the weights that the curve leaves, at the start;
        falls as a cosine.
      every: Steps between events.
      stop_at: When both end, as a fraction of the run.
      allocation: How the density is spread over the leaves.

    References:
      Liu et al. 2021 (arXiv:2106.10404), algorithm 1.
    """
    stop = moment(stop_at, total_steps, every)
    curve = schedule.cubic(first, density, 0, stop)
    transform = plasticity(
        drop=score.magnitude(),
        grow=score.gradient(),
        density=curve,
        budget=by_curve(schedule.cosine(2 * fraction, stop), on_top=True),
        allocation=allocation,
        every=every,
    )
    return Method(transform, curve, before(stop, 1 / every))
