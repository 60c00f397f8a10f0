"""Bulk and Cut: enlarges the best architectures, then shrinks them."""

from collections.abc import Sequence
from typing import Any

from gpnas._settings import Count, Fraction
from gpnas.errors import UserError
from gpnas.search import pareto
from gpnas.search._history import Proposal, Propose, Trial, value
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
    """Samples small architectures, enlarges the best, then shrinks members of the front.

    Args:
      space: The search space, with moves "grow" and "cut".
      objectives: Names of metrics to be minimised; the first one selects the parents to be
        enlarged.
      first: Number of random architectures at the start; 0.35 of the budget in the paper.
      bulk: Number of enlarged architectures after them, 0.40; all later ones are shrunk.
      front: Probability that the parent of a shrunk architecture is from the first front, not the
        second.

    Raises:
      UserError: If the space lacks one of these moves.

    References:
      Izquierdo et al. 2021 (arXiv:2105.01015).
    """
    if missing := [move for move in ("grow", "cut") if move not in space.moves]:
        allowed = f"another: this space does not know how to {' and '.join(missing)}"
        raise UserError("strategy.name", "bulk_and_cut", allowed)

    def choose(trials: list[Trial], old: set[Any], rng: Rng) -> Proposal | None:
        if len(trials) < first + bulk:
            move = space.moves["grow"]
            parents = sorted(trials, key=lambda trial: value(trial, objectives[0]))
        else:
            move = space.moves["cut"]
            parents = [_from_fronts(trials, rng) for _ in range(_PARENTS)]
        for parent in parents[:_PARENTS]:
            children = (move(parent.architecture, rng) for _ in range(_TRIES))
            child = next((c for c in children if c is not None and c not in old), None)
            if child is not None:
                return Proposal(child, parent.number)
        return None

    def _from_fronts(trials: Sequence[Trial], rng: Rng) -> Trial:
        rank = pareto.ranks(pareto.points(trials, objectives))
        wanted = 0 if rank.max() == 0 or rng.random() < front else 1
        some = [trial for trial, own in zip(trials, rank, strict=True) if own == wanted]
        return some[int(rng.integers(len(some)))]

    return after_random(space, first, choose)
