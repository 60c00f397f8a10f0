"""LaNAS: a tree of learned splits of the space into good and bad regions."""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from gpnas._settings import Count, Height, NonNegative, Positive
from gpnas.search._history import Proposal, Propose, Trial, value
from gpnas.search._space import Space, encoded
from gpnas.search.strategies import _lanas_released as released
from gpnas.search.strategies._random import after_random


class Hyperplane(NamedTuple):
    """A hyperplane; architectures predicted at or above the threshold are good."""

    weights: np.ndarray
    intercept: float
    threshold: float

    def good(self, codes: np.ndarray) -> np.ndarray:
        """Returns whether each architecture is good; (architectures,) bool."""
        # BLAS threads slow down products this small, hence einsum.
        return np.einsum("ij,j->i", codes, self.weights) + self.intercept >= self.threshold


Regress = Callable[[int, np.ndarray, np.ndarray], Hyperplane]  # (node, codes, values of its trials)


def lanas(
    space: Space,
    metric: str,
    height: Height = 5,
    exploration: NonNegative = 1.0,
    first: Count = 10,
    batch: Count = 20,
    regressor: Literal["ridge", "released"] = "ridge",
    ridge: Positive = 1.0,
    draws: Count = 2000,
) -> Propose:
    """Descends a tree of linear splits by upper confidence bounds and samples in the leaf.

    The splits are fitted after each batch; the value of an architecture is its negative metric.

    Args:
      space, metric: The search space, and the metric to be minimised.
      height: Levels of the tree, 1 to 12; 5 has 31 nodes.
      exploration: Cp in standard deviations of the values observed so far, so it is independent of
        the metric's scale; the paper's 0.1 of an accuracy is 0.8 of NAS-Bench-201's.
      first: Number of random architectures at the start.
      batch: Number of trials between fits.
      regressor: "ridge", ridge regression; or "released", Adam warm-started from the previous fit
        (`lanas_released`), for a metric in percent.
      ridge: Penalty of the squared weights, above 0.
      draws: Number of random candidates if the space cannot be listed.

    References:
      Wang et al. 2019 (arXiv:1906.06832), section 4.
    """
    candidates = make_candidates(space, draws)

    @functools.lru_cache(maxsize=8)  # weights are a function of their inputs
    def descended(seen: tuple[tuple[Any, float], ...]) -> np.ndarray:
        x = encoded(space, [architecture for architecture, _ in seen])
        accuracies = np.array([1 - error / 100 for _, error in seen])
        if len(seen) <= first:
            start = released.initial_weights(2 ** (height - 1) - 1, x.shape[1])
            return released.refit(start, x, accuracies, released.STEPS[0])
        return released.refit(descended(seen[:-batch]), x, accuracies, released.STEPS[1])

    def splits(trials: Sequence[Trial]) -> Regress:
        if regressor == "ridge":
            return lambda node, x, y: fit_ridge(x, y, ridge)
        weights = descended(tuple((t.architecture, value(t, metric)) for t in trials))
        return lambda node, x, y: plane(100 * weights[node - 1], x, -100.0)

    def choose(trials: list[Trial], old: set[Any], rng: np.random.Generator) -> Proposal | None:
        pool, here, free, x = candidates([t.architecture for t in trials], old, rng)
        y = np.array([-value(trial, metric) for trial in trials])
        fitted = first + (len(trials) - first) // batch * batch
        tree = Tree(x, y, fitted, exploration, splits(trials[:fitted]))
        rows = tree.leaf(here, np.flatnonzero(free), np.arange(len(y)), height)
        return Proposal(pool[rng.choice(rows)]) if rows.size else None

    return after_random(space, first, choose)


def make_candidates(space: Space, draws: int) -> Callable[..., tuple]:
    """Makes `(evaluated, known, rng) → candidates`; all architectures if the space can be listed.

    Args:
      space: The search space.
      draws: Number of random candidates if the space cannot be listed.

    Returns:
      A function that returns the candidates, their codes, (candidates,) bool for new ones, and the
      codes of the evaluated architectures.
    """
    listed = list(space.enumerate_all()) if space.enumerate_all else []
    codes = encoded(space, listed) if listed else None
    places = {architecture: row for row, architecture in enumerate(listed)}

    def candidates(asked: Sequence[Any], old: set[Any], rng: np.random.Generator) -> tuple:
        if codes is None:
            pool = [space.sample(rng) for _ in range(draws)]
            free = np.array([architecture not in old for architecture in pool])
            return pool, encoded(space, pool), free, encoded(space, asked)
        free = np.ones(len(listed), bool)
        free[[places[architecture] for architecture in old]] = False
        return listed, codes, free, codes[[places[architecture] for architecture in asked]]

    return candidates


class Tree(NamedTuple):
    """Inputs of the descent: codes and values of the trials; the first `fitted` define the splits.

    Attributes:
      x: (trials, features).
      y: (trials,), higher is better.
      fitted: Number of trials at the last fit; later trials are assigned by prediction.
      exploration: As for `lanas`.
      regress: Fits a node's split.
    """

    x: np.ndarray
    y: np.ndarray
    fitted: int
    exploration: float
    regress: Regress

    def leaf(
        self, codes: np.ndarray, free: np.ndarray, bag: np.ndarray, levels: int, node: int = 1
    ) -> np.ndarray:
        """Returns the candidates in the leaf reached, or in the next leaf with any.

        Args:
          codes: (candidates, features).
          free: Rows of candidates in this node that are not evaluated.
          bag: Trials in this node.
          levels: Number of levels from this node to the leaves, inclusive.
          node: 1 is the root; the children of i are 2i, the good one, and 2i + 1.
        """
        made = bag[bag < self.fitted]
        if levels == 1 or not free.size or not made.size:
            return free
        split = self.regress(node, self.x[made], self.y[made])
        by_value = self.y[bag] >= split.threshold
        good = np.where(bag < self.fitted, by_value, split.good(self.x[bag]))
        inside = split.good(codes)[free]  # far cheaper than gathering the rows' codes
        children = [(bag[good], free[inside], 2 * node), (bag[~good], free[~inside], 2 * node + 1)]
        children.sort(key=lambda child: -self.bound(child[0], bag.size))
        found = (self.leaf(codes, rows, own, levels - 1, at) for own, rows, at in children)
        return next(rows for rows in found if rows.size)

    def bound(self, bag: np.ndarray, above: int) -> float:
        """Upper confidence bound of a node with trials `bag`, whose parent has `above` trials."""
        if not bag.size:
            return math.inf
        width = math.sqrt(2 * math.log(above) / bag.size)
        return float(np.mean(self.y[bag])) + 2 * self.exploration * float(self.y.std()) * width


def plane(weights: np.ndarray, x: np.ndarray, offset: float) -> Hyperplane:
    """Returns a split at the mean prediction; the last weight is the intercept."""
    intercept = float(weights[-1]) + offset
    return Hyperplane(weights[:-1], intercept, float((x @ weights[:-1]).mean()) + intercept)


def fit_ridge(x: np.ndarray, y: np.ndarray, ridge: float) -> Hyperplane:
    """Fits by ridge regression; the threshold is the mean prediction."""
    mean_x, mean_y = x.mean(0), y.mean()
    centred = x - mean_x
    gram = np.einsum("ki,kj->ij", centred, centred) + ridge * np.eye(x.shape[1])
    weights = np.linalg.solve(gram, np.einsum("ki,k->i", centred, y - mean_y))
    return Hyperplane(weights, float(mean_y - mean_x @ weights), float(mean_y))
