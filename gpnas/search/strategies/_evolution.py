"""Regularized (aging) evolution."""

import numpy as np

from gpnas._settings import Count
from gpnas.search._history import History, Proposal, Propose, best, evaluated
from gpnas.search._space import Space


def evolution(space: Space, metric: str, population: Count = 50, sample: Count = 10) -> Propose:
    """Mutates the best of a random sample of the last `population` trials.

    Args:
      space: The search space.
      metric: Metric to be minimised.
      population: P, number of latest trials that may be parents; the first P trials are random.
      sample: S, size of the random sample.

    References:
      Real et al. 2019 (arXiv:1802.01548), algorithm 1.
    """

    def propose(history: History, rng: np.random.Generator) -> Proposal:
        population_now = evaluated(history)[-population:]
        if len(population_now) < population:
            return Proposal(space.sample(rng))
        picked = rng.choice(len(population_now), min(sample, len(population_now)), replace=False)
        parent = best([population_now[i] for i in sorted(picked)], metric)
        return Proposal(space.mutate(parent.architecture, rng), parent.number)

    return propose
