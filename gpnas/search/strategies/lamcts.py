"""LA-MCTS: like LaNAS, but splits by clusters, and with boundaries that bend."""

import functools
import math
from typing import Any, NamedTuple

import numpy as np
from sklearn.cluster import KMeans
from sklearn.svm import SVC
from threadpoolctl import threadpool_limits

from gpnas._settings import Count, NonNegative
from gpnas.search._history import History, Proposal, Propose, evaluated, known, value
from gpnas.search._space import Space, encoded
from gpnas.search.strategies.lanas import make_candidates
from gpnas.search.strategies.random import fresh


class Node(NamedTuple):
    """A part of the space.

    Attributes:
      values: Of the trials in it; higher is better.
      boundary: Classifies codes as of its good or its bad part; None at a leaf.
      children: The good and the bad part.
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
    """Descends a tree of parts of the space by upper confidence bounds, and samples in its leaf.

    A node with more than `leaf` trials is split: k-means finds two clusters of codes and values,
    a support vector machine the boundary between them. Within a leaf the choice is uniform; the
    paper's other samplers (Bayesian optimisation, TuRBO) are left out.

    Args:
      space: Where to search.
      metric: To be minimised.
      exploration: Cp, in standard deviations of the values seen so far.
      first: Random architectures at the start.
      batch: Trials between two trees.
      leaf: Most trials in a leaf.
      draws: Random architectures to choose among.

    References:
      Wang, Fonseca & Tian 2020 (arXiv:2007.00708), section 4.
    """
    candidates = make_candidates(space, draws)

    @functools.lru_cache(maxsize=2)  # a tree depends on what it was made from alone
    def grown(trials: tuple[tuple[Any, float], ...]) -> Node:
        x = encoded(space, [architecture for architecture, _ in trials])
        y = np.array([-error for _, error in trials])
        # So little work loses more to k-means' threads than it gains.
        with threadpool_limits(1):
            return _split(x, (y - y.mean()) / (y.std() or 1.0), leaf)

    def propose(history: History, rng: np.random.Generator) -> Proposal:
        trials, old = evaluated(history), known(history)
        if len(trials) < first:
            return Proposal(fresh(space, old, rng))
        used = first + (len(trials) - first) // batch * batch
        root = grown(tuple((t.architecture, value(t, metric)) for t in trials[:used]))
        pool, codes, free, _ = candidates([t.architecture for t in trials], old, rng)
        rows = np.flatnonzero(free)
        if space.everything:
            rows = rng.choice(rows, min(draws, rows.size), replace=False)
        else:  # some may have been drawn more than once
            rows = np.sort([*{pool[row]: row for row in rows[::-1]}.values()]).astype(int)
        if not rows.size:
            return Proposal(fresh(space, old, rng))
        return Proposal(pool[int(rng.choice(_leaf(root, codes, rows, exploration)))])

    return propose


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
    """Candidates of the leaf that is reached, or of the next one that has any."""
    if node.boundary is None or not rows.size:
        return rows
    inside = node.boundary.predict(codes[rows])
    parts = list(zip(node.children, (rows[inside], rows[~inside]), strict=True))
    parts.sort(key=lambda part: -_bound(part[0], node, exploration))
    found = (_leaf(child, codes, own, exploration) for child, own in parts)
    return next(own for own in found if own.size)


def _bound(child: Node, parent: Node, exploration: float) -> float:
    """Upper confidence bound, with a root where the usual one has a logarithm."""
    width = math.sqrt(2 * math.sqrt(len(parent.values)) / len(child.values))
    return float(child.values.mean()) + 2 * exploration * width
