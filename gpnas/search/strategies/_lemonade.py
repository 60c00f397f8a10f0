"""LEMONADE: children of the front, sampled where it is sparse in the cheap objectives."""

import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.stats import gaussian_kde

from gpnas._settings import Count
from gpnas.search import pareto
from gpnas.search._history import Proposal, Propose, Trial
from gpnas.search._outcome import Failed, attempt
from gpnas.search._space import Rng, Space
from gpnas.search.strategies._random import after_random, unseen


def lemonade(
    space: Space,
    objectives: Sequence[str],
    first: Count = 10,
    children: Count = 4,
    kde: bool = True,
) -> Propose:
    """Samples parents from the front and one of their children, favouring sparse regions.

    Cheap objectives are costs known without training. Their density over the front is estimated;
    parents, and then the child to train, are sampled with inverse density. The paper accepts 16 of
    64 children per generation; here each proposal is one of `children` from the current front, so
    that workers need not wait for each other.

    Args:
      space: The search space.
      objectives: Names of metrics to be minimised; the cheap ones are names in `space.cost`.
      first: Number of random architectures at the start.
      children: Number of children, one of which is trained.
      kde: Whether to sample by inverse density; otherwise sampling is uniform.

    References:
      Elsken et al. 2019 (arXiv:1804.09081), algorithm 1.
    """

    def choose(trials: list[Trial], old: set[Any], rng: Rng) -> Proposal:
        front = pareto.archive(trials, objectives)
        prices = [_prices(space, trial.architecture, objectives) for trial in front]
        parents = _drawn(front, _rarity(prices, prices, kde), children, rng)
        offspring = [
            (unseen(functools.partial(space.mutate, parent.architecture, rng), old), parent.number)
            for parent in parents
        ]
        for child in offspring:
            if not _has_prices(space, child[0]):  # its evaluation fails with the reason
                return Proposal(*child)
        places = [_prices(space, architecture, objectives) for architecture, _ in offspring]
        chosen = _drawn(offspring, _rarity(places, prices, kde), 1, rng)[0]
        return Proposal(*chosen)

    return after_random(space, first, choose)


def _has_prices(space: Space, architecture: Any) -> bool:
    """Returns whether the cost can be computed and is finite; a user's space may raise."""
    cost = attempt(lambda: dict(space.cost(architecture)))
    return not isinstance(cost, Failed) and all(map(math.isfinite, cost.values()))


def _prices(space: Space, architecture: Any, objectives: Sequence[str]) -> list[float]:
    cost = space.cost(architecture)
    return [cost[name] for name in objectives if name in cost]


def _rarity(places: list[list[float]], front: list[list[float]], kde: bool) -> np.ndarray:
    """Returns (places,) weights: 1 / density of the front at each place, by a kernel estimate.

    All weights are 1 without `kde`, or if the front has too few points or linearly dependent costs.
    """
    known_points = np.array(front).T  # (cheap objectives, points)
    cheap, points = known_points.shape if known_points.size else (0, 0)
    if not kde or points <= cheap or np.linalg.matrix_rank(np.cov(known_points)) < cheap:
        return np.ones(len(places))
    density = gaussian_kde(known_points).logpdf(np.array(places).T)  # may be 0 at all places
    return np.exp(np.minimum(density.max() - density, np.log(1e3)))


def _drawn(things: Sequence[Any], weights: np.ndarray, count: int, rng: Rng) -> list[Any]:
    picked = rng.choice(len(things), count, p=weights / weights.sum())
    return [things[i] for i in picked]
