"""SNIP: single-shot pruning before training, by connection sensitivity."""

from gpnas._settings import Density
from gpnas.masks import allocate, ranking, schedule, score
from gpnas.methods._method import Forecast, Method


def snip(*, density: Density, allocation: allocate.Allocation = allocate.global_()) -> Method:
    """Keeps the weights with the largest `|w·g|` on the first batch.

    Args:
      density: Fraction of active weights, in (0, 1].
      allocation: `global_`, as in the paper.

    References:
      Lee et al. 2019 (arXiv:1810.02340), equation 6.
    """
    curve = schedule.constant(density)
    transform = ranking(score.taylor(), curve, allocation=allocation, stop=1)
    return Method(transform, Forecast(curve, allocation=allocation))
