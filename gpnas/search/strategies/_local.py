"""Local search with restarts."""

from typing import Any

import numpy as np

from gpnas.search._history import Proposal, Propose, Trial, best
from gpnas.search._space import Space
from gpnas.search.strategies._random import after_random


def local_search(space: Space, metric: str) -> Propose:
    """Evaluates neighbours of the best trial since the last restart; restarts when none is left.

    A better neighbour immediately becomes the new centre.

    Args:
      space: The search space.
      metric: Metric to be minimised.

    References:
      White et al. 2020 (arXiv:2005.02960); Den Ottelander et al. 2020 (arXiv:2004.08996).
    """

    def choose(trials: list[Trial], old: set[Any], rng: np.random.Generator) -> Proposal | None:
        start = max(i for i, trial in enumerate(trials) if trial.parent is None)
        centre = best(trials[start:], metric)
        around = [a for a in space.neighbours(centre.architecture) if a not in old]
        return Proposal(around[rng.integers(len(around))], centre.number) if around else None

    return after_random(space, 1, choose)
