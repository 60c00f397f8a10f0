"""AC/DC: alternating compressed and decompressed training."""

from gpnas._settings import Count, Density, Fraction
from gpnas.errors import UserError
from gpnas.masks import allocate, schedule
from gpnas.methods._method import Method, magnitude_at_jumps, step_at


def acdc(
    *,
    density: Density,
    total_steps: int,
    warmup_at: Fraction = 0.1,
    stop_at: Fraction = 0.75,
    phases: Count = 5,
    allocation: allocate.Allocation = allocate.global_(),
) -> Method:
    """Alternates sparse phases (magnitude pruning) and dense phases (all weights regrown at zero).

    Args:
      density: Density in sparse phases and at the end, in (0, 1].
      total_steps: Length of the run.
      warmup_at: End of the first dense phase, as a fraction of the run.
      stop_at: Start of the last sparse phase, as a fraction of the run.
      phases: Sparse phases before the last, each followed by a dense phase of equal length.
      allocation: `global_`, as in the paper.

    Raises:
      UserError: If a phase has no step.

    References:
      Peste et al. 2021 (arXiv:2106.12379), algorithm 1.
    """
    start, stop = step_at(warmup_at, total_steps), step_at(stop_at, total_steps)
    length = (stop - start) // (2 * phases)
    if length < 1:
        most = (stop - start) // 2
        allowed = f"at most {most}, for phases of a step or more between warmup_at and stop_at"
        raise UserError("method.phases", phases, allowed)
    curve = schedule.alternating(density, start, start + 2 * phases * length, length, length)
    return magnitude_at_jumps(curve, allocation)
