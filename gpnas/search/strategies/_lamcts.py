"""LA-MCTS: as LaNAS, but splits by clustering, with nonlinear boundaries."""

import functools
import math
from typing import Any, NamedTuple

import numpy as np
from sklearn.cluster import KMeans
from sklearn.svm import SVC
from threadpoolctl import threadpool_limits

from gpnas._settings import Count, NonNegative
from gpnas.search._history import Proposal, Propose, Trial, value
from gpnas.search._space import Space, encoded
from gpnas.search.strategies._lanas import make_candidates
from gpnas.search.strategies._random import after_random


class Node(NamedTuple):
    """A region of the space.

    Attributes:
      values: Values of its trials; higher is better.
      boundary: Classifies codes into the good or the bad region; None at a leaf.
      children: The good and the bad region.
    """

    values: np.ndarray
    boundary: SVC | None = None
    children: tuple["Node", ...] = ()


def lamcts(
    space: Space,
    metric: str,
    exploration: NonNegative = 0.5,
    first: Count = 10,
    batch: Count = 10,
    leaf: Count = 20,
    draws: Count = 1000,
) -> Propose:
    """Descends a tree of regions by upper confidence bounds and samples in the leaf.

    A node with more than `leaf` trials is split: k-means finds two clusters of codes and values,
    and a support vector machine the boundary between them. Sampling within a leaf is uniform; the
    paper's other samplers (Bayesian optimisation, TuRBO) are left out.

    Args:
      space: The search space.
      metric: Metric to be minimised.
      exploration: Cp, in standard deviations of the values observed so far.
      first: Number of random architectures at the start.
      batch: Number of trials between rebuilds of the tree.
      leaf: Maximum number of trials in a leaf.
      draws: Number of random candidates.

    References:
      Wang, Fonseca & Tian 2020 (arXiv:2007.00708), section 4.
    """
    candidates = make_candidates(space, draws)

    @functools.lru_cache(maxsize=2)  # a tree is a function of its inputs
    def grown(trials: tuple[tuple[Any, float], ...]) -> Node:
        x = encoded(space, [architecture for architecture, _ in trials])
        y = np.array([-error for _, error in trials])
        # Threads slow down k-means on so few points.
        with threadpool_limits(1):
            return _split(x, (y - y.mean()) / (y.std() or 1.0), leaf)

    def choose(trials: list[Trial], old: set[Any], rng: np.random.Generator) -> Proposal | None:
        used = first + (len(trials) - first) // batch * batch
        root = grown(tuple((t.architecture, value(t, metric)) for t in trials[:used]))
        pool, codes, free, _ = candidates([t.architecture for t in trials], old, rng)
        rows = np.flatnonzero(free)
        if space.enumerate_all:
            rows = rng.choice(rows, min(draws, rows.size), replace=False)
        else:  # duplicates are possible
            rows = np.sort([*{pool[row]: row for row in rows[::-1]}.values()]).astype(int)
        if not rows.size:
            return None
        return Proposal(pool[int(rng.choice(_leaf(root, codes, rows, exploration)))])

    return after_random(space, first, choose)


def _split(x: np.ndarray, y: np.ndarray, leaf: int) -> Node:
    if len(y) <= leaf:
        return Node(y)
    found = KMeans(2, n_init=3, random_state=0).fit_predict(np.column_stack([x, y]))
    if len(set(found)) < 2:
        return Node(y)
    good = found == int(y[found == 1].mean() > y[found == 0].mean())
    boundary = SVC().fit(x, good)
    inside = boundary.predict(x)
    if inside.all() or not inside.any():
        return Node(y)
    parts = (_split(x[side], y[side], leaf) for side in (inside, ~inside))
    return Node(y, boundary, tuple(parts))


def _leaf(node: Node, codes: np.ndarray, rows: np.ndarray, exploration: float) -> np.ndarray:
    """Returns the candidates of the leaf reached, or of the next leaf with any."""
    if node.boundary is None or not rows.size:
        return rows
    inside = node.boundary.predict(codes[rows])
    parts = list(zip(node.children, (rows[inside], rows[~inside]), strict=True))
    parts.sort(key=lambda part: -_bound(part[0], node, exploration))
    found = (_leaf(child, codes, own, exploration) for child, own in parts)
    return next(own for own in found if own.size)


def _bound(child: Node, parent: Node, exploration: float) -> float:
    """Upper confidence bound, with a square root instead of the usual logarithm."""
    width = math.sqrt(2 * math.sqrt(len(parent.values)) / len(child.values))
    return float(child.values.mean()) + 2 * exploration * width
