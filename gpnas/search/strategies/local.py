"""Local search with restarts."""

import numpy as np

from gpnas.search._history import History, Proposal, Propose, best, evaluated, known
from gpnas.search._space import Space
from gpnas.search.strategies.random import fresh


def local_search(space: Space, metric: str) -> Propose:
    """Evaluates neighbours of the best trial since the last restart; restarts when none is left.

    A better neighbour immediately becomes the new centre.

    Args:
      space: The search space.
      metric: Metric to be minimised.

    References:
      White et al. 2020 (arXiv:2005.02960); Den Ottelander et al. 2020 (arXiv:2004.08996).
    """

    def propose(history: History, rng: np.random.Generator) -> Proposal:
        since, old = evaluated(history), known(history)
        starts = [i for i, trial in enumerate(since) if trial.parent is None]
        if starts:
            centre = best(since[starts[-1] :], metric)
            around = [a for a in space.neighbours(centre.architecture) if a not in old]
            if around:
                return Proposal(around[rng.integers(len(around))], centre.number)
        return Proposal(fresh(space, old, rng))

    return propose
