"""Bulk and Cut: enlarges members of the front, then shrinks them."""

from collections.abc import Collection, Sequence
from typing import Any

from gpnas._settings import Count, Fraction
from gpnas.errors import UserError
from gpnas.search import pareto
from gpnas.search._history import Proposal, Propose, Trial
from gpnas.search._space import Rng, Space
from gpnas.search.strategies._random import after_random

_PARENTS, _TRIES = 10, 10  # until a new child is found


def bulk_and_cut(
    space: Space,
    objectives: Sequence[str],
    first: Count = 35,
    bulk: Count = 40,
    front: Fraction = 0.85,
) -> Propose:
    """Samples small architectures, then enlarges members of the front, then shrinks them.

    Architectures without a shrunk child are shrunk first. Parents are drawn uniformly from a front;
    in the authors' code, draws of parents to be enlarged are weighted by accuracy. Their search of
    the optimizer's settings is not part of this strategy.

    Args:
      space: The search space, with moves "grow" and "cut".
      objectives: Names of metrics to be minimised.
      first: Number of random architectures at the start; 0.35 of the budget in the paper.
      bulk: Number of enlarged architectures after them, 0.40; all later ones are shrunk.
      front: Probability that a parent is from the first front, not the second.

    Raises:
      UserError: If the space lacks one of these moves.

    References:
      Izquierdo et al. 2021 (arXiv:2105.01015).
    """
    if missing := [move for move in ("grow", "cut") if move not in space.moves]:
        allowed = f"another: this space does not know how to {' and '.join(missing)}"
        raise UserError("strategy.name", "bulk_and_cut", allowed)

    def choose(trials: list[Trial], old: set[Any], rng: Rng) -> Proposal | None:
        move = space.moves["grow" if len(trials) < first + bulk else "cut"]
        tried = {trial.parent for trial in trials[first + bulk :]}
        for _ in range(_PARENTS):
            parent = draw(trials, tried, rng)
            children = (move(parent.architecture, rng) for _ in range(_TRIES))
            child = next((c for c in children if c is not None and c not in old), None)
            if child is not None:
                return Proposal(child, parent.number)
            tried.add(parent.number)
        return None

    def draw(trials: Sequence[Trial], tried: Collection[int | None], rng: Rng) -> Trial:
        rank = pareto.ranks(pareto.points(trials, objectives))
        wanted = 0 if rank.max() == 0 or rng.random() < front else 1
        members = [trial for trial, own in zip(trials, rank, strict=True) if own == wanted]
        some = [trial for trial in members if trial.number not in tried] or members
        return some[int(rng.integers(len(some)))]

    return after_random(space, first, choose)
