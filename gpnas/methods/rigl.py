"""RigL: rigging the lottery."""

from gpnas._settings import Count, Density, Fraction
from gpnas.masks import allocate, plasticity, schedule, score
from gpnas.methods._method import Forecast, Method, rate_until


def rigl(
    *,
    density: Density,
    total_steps: int,
    fraction: Fraction = 0.3,
    every: Count,
    stop_at: Fraction = 0.75,
    allocation: allocate.Allocation = allocate.erk(),
) -> Method:
    """Prunes the smallest weights of each leaf, and grows those of largest dense gradient.

    Args:
      density: Fraction of active weights, in (0, 1].
      total_steps: Length of the run.
      fraction: α, initial fraction of active weights that a mask update prunes; it grows as many.
        Cosine decay.
      every: ΔT, steps between mask updates.
      stop_at: End of mask updates, as a fraction of the run.
      allocation: Splits the density over leaves.

    References:
      Evci et al. 2020 (arXiv:1911.11134), algorithm 1.
    """
    stop = round(stop_at * total_steps)
    curve = schedule.constant(density)
    transform = plasticity(
        drop=score.magnitude(),
        grow=score.gradient(),
        density=curve,
        churn=schedule.cosine(2 * fraction, stop),
        allocation=allocation,
        every=every,
        stop=stop,
    )
    return Method(transform, Forecast(curve, rate_until(stop, 1 / every), allocation=allocation))
