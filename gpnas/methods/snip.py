"""SNIP: single-shot pruning before training, by connection sensitivity."""

from gpnas.masks import ranking, schedule, score
from gpnas.masks.allocate import Allocation, global_
from gpnas.methods.method import Method


def snip(*, density: float, allocation: Allocation = global_()) -> Method:
    """Keeps the weights with the largest |w·g| on the first batch.

    Args:
      density: Living fraction, in (0, 1].
      allocation: `global_`, as in the paper.

    References:
      Lee et al. 2019 (arXiv:1810.02340), equation 6.
    """
    curve = schedule.constant(density)
    return Method(ranking(score.taylor(), curve, allocation=allocation, stop=1), curve)
