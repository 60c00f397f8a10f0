"""A predictor of the metric from the architecture's encoding, as in BANANAS."""

from typing import Any

import numpy as np

from gpnas._settings import Count, Positive
from gpnas.search._history import Proposal, Propose, Trial, value
from gpnas.search._space import Space, encoded
from gpnas.search.strategies._random import after_random


def predictor(
    space: Space,
    metric: str,
    first: Count = 10,
    parents: Count = 10,
    candidates: Count = 200,
    features: Count = 200,
    ridge: Positive = 1.0,
) -> Propose:
    """Trains a small network on all trials and proposes the candidate with the lowest prediction.

    Candidates are mutations of the best trials. The network has one hidden layer with fixed random
    weights and is trained on a bootstrap sample. Each proposal uses another sample, which
    corresponds to independent Thompson sampling with an ensemble (BANANAS trains five full
    networks).

    Args:
      space: The search space.
      metric: Metric to be minimised.
      first: Number of random architectures at the start.
      parents: Number of best trials to mutate.
      candidates: Number of candidates.
      features: Hidden units.
      ridge: Penalty of the squared output weights, above 0.

    References:
      White et al. 2021 (arXiv:1910.11858); Huang et al. 2006, Extreme learning machine.
    """

    def choose(trials: list[Trial], old: set[Any], rng: np.random.Generator) -> Proposal | None:
        ranked = sorted(trials, key=lambda trial: value(trial, metric))[:parents]
        pool: dict[Any, int] = {}
        for i in range(candidates):
            parent = ranked[i % len(ranked)]
            pool.setdefault(space.mutate(parent.architecture, rng), parent.number)
        new = [architecture for architecture in pool if architecture not in old]
        if not new:
            return None
        x = encoded(space, [trial.architecture for trial in trials])
        y = np.array([value(trial, metric) for trial in trials])
        seen = _predicted(x, y, encoded(space, new), features, ridge, rng)
        chosen = new[int(np.argmin(seen))]
        return Proposal(chosen, pool[chosen])

    return after_random(space, first, choose)


def _predicted(
    x: np.ndarray,
    y: np.ndarray,
    codes: np.ndarray,
    features: int,
    ridge: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """Predicts by one network, trained on a bootstrap sample of (x, y)."""
    drawn = rng.integers(len(y), size=len(y))
    weights = rng.normal(size=(x.shape[1], features)) / np.sqrt(x.shape[1])
    bias = rng.normal(size=features)
    hidden, seen = (np.maximum(a @ weights + bias, 0) for a in (x[drawn], codes))
    centre, mean = hidden.mean(0), y[drawn].mean()
    gram = (hidden - centre).T @ (hidden - centre) + ridge * np.eye(features)
    out = np.linalg.solve(gram, (hidden - centre).T @ (y[drawn] - mean))
    return (seen - centre) @ out + mean
