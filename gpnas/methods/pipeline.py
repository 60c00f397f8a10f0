"""The pipeline: growth, then pruning, along the developmental curve, with two scores."""

from gpnas._settings import Count, Density, Fraction, Multiple
from gpnas.masks import allocate
from gpnas.methods._method import Method
from gpnas.methods.development import development


def pipeline(
    *,
    density: Density,
    total_steps: int,
    batch_size: int,
    peak: Multiple = 12.0,
    peak_at: Fraction = 0.1,
    stop_at: Fraction = 0.75,
    every: Count,
    allocation: allocate.Allocation = allocate.global_(),
    seed_allocation: allocate.Allocation = allocate.erk(),
) -> Method:
    """Grows by `|g|` until the peak, then prunes by `|w|`; never both in one mask update.

    A control of `development`: the same form of the density curve, but no churn, and growth by the
    gradient of one batch. The defaults of `peak_at` differ.

    Args:
      density: Final density, in (0, 1].
      total_steps, batch_size, peak, peak_at, stop_at, every, allocation, seed_allocation: As in
        `development`.

    References:
      Dai et al. 2017, NeST (arXiv:1711.02017), is a pipeline of this kind.
    """
    return development(
        density=density,
        total_steps=total_steps,
        batch_size=batch_size,
        peak=peak,
        peak_at=peak_at,
        stop_at=stop_at,
        churn=0.0,
        drop="magnitude",
        grow="gradient",
        every=every,
        window=1,
        allocation=allocation,
        seed_allocation=seed_allocation,
    )
