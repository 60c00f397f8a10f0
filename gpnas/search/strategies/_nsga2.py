"""NSGA-II for several objectives."""

from collections.abc import Sequence

import numpy as np

from gpnas._settings import Count
from gpnas.search._history import History, Proposal, Propose, Trial, evaluated
from gpnas.search._space import Space
from gpnas.search.pareto import crowding, points, ranks


def nsga2(space: Space, objectives: Sequence[str], population: Count = 20) -> Propose:
    """Mutates generations of the best trials so far, ranked by front, then by crowding distance.

    A child is a mutation of the winner of a binary tournament; spaces have no crossover. The best
    trials are selected from the whole history; in the paper, from the last generation and its
    parents. So a trial that was crowded out may return.

    Args:
      space: The search space.
      objectives: Names of metrics to be minimised.
      population: Size of a generation; the first is random.

    References:
      Deb et al. 2002, A fast and elitist multiobjective genetic algorithm: NSGA-II.
    """

    def propose(history: History, rng: np.random.Generator) -> Proposal:
        trials = evaluated(history)
        if len(trials) < population:
            return Proposal(space.sample(rng))
        past = len(trials) - len(trials) % population
        parents = survivors(trials[:past], objectives, population)
        first, second = rng.choice(len(parents), 2, replace=len(parents) < 2)
        winner = parents[min(first, second)]
        return Proposal(space.mutate(winner.architecture, rng), winner.number)

    return propose


def survivors(trials: Sequence[Trial], objectives: Sequence[str], count: int) -> list[Trial]:
    """Returns the best `count` trials, best first; each architecture once."""
    unique = list({trial.architecture: trial for trial in reversed(trials)}.values())[::-1]
    where = points(unique, objectives)
    front = ranks(where)
    distance = np.zeros(len(unique))
    for rank in range(front.max() + 1):
        own = np.flatnonzero(front == rank)
        distance[own] = crowding(where[own])
    return [unique[i] for i in np.lexsort((-distance, front))[:count]]
