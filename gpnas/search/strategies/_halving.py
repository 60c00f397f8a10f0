"""Successive halving and Hyperband: many trials at a small budget, the best at larger ones."""

import itertools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from gpnas._settings import Counts, Factor, Steps
from gpnas.errors import UserError
from gpnas.search._history import History, Proposal, Propose, best, known
from gpnas.search._space import Space
from gpnas.search.strategies._random import fresh


class Stage(NamedTuple):
    """Trials of one budget; those of a bracket's first stage are random.

    Attributes:
      trials: Number of trials.
      budget: Budget of each.
      first: Whether the stage is the first of a bracket.
    """

    trials: int
    budget: int
    first: bool


def successive_halving(
    space: Space, metric: str, budgets: Counts, reduction: Factor = 4, first: Steps = 0
) -> Propose:
    """Runs brackets one after the other, each from the smallest budget.

    Args:
      space: The search space.
      metric: Metric to be minimised.
      budgets: Increasing budgets, each about `reduction` times the previous one.
      reduction: η; 1/η of each stage's trials are promoted.
      first: Trials in a bracket's first stage; 0 for the number that leaves one at the largest
        budget.

    Raises:
      UserError: If budgets do not increase, or `first` trials leave none at the largest budget.

    References:
      Jamieson & Talwalkar 2016 (arXiv:1502.07943).
    """
    check_budgets(budgets)
    least = reduction ** (len(budgets) - 1)
    if first and first < least:
        raise UserError("strategy.first", first, f"0, or {least} or more: one at the last budget")
    return _staged(space, metric, _bracket(budgets, reduction, len(budgets) - 1, first))


def hyperband(space: Space, metric: str, budgets: Counts, reduction: Factor = 4) -> Propose:
    """Runs brackets that start at each of the budgets in turn, the smallest first.

    Args:
      space, metric, budgets, reduction: As for `successive_halving`.

    Raises:
      UserError: If budgets do not increase.

    References:
      Li et al. 2018 (arXiv:1603.06560), algorithm 1.
    """
    check_budgets(budgets)
    rungs = range(len(budgets) - 1, -1, -1)
    return _staged(space, metric, sum((_bracket(budgets, reduction, s) for s in rungs), []))


def check_budgets(budgets: Any, field: str = "strategy.budgets") -> None:
    """Checks that budgets are positive integers, each larger than the previous one.

    Args:
      budgets: One or more.
      field: Field of the config, for the message.

    Raises:
      UserError: If they are not.
    """
    whole = isinstance(budgets, list | tuple) and all(type(x) is int for x in budgets)
    if not whole or not budgets or any(a >= b for a, b in itertools.pairwise((0, *budgets))):
        allowed = "whole numbers above 0, each larger than the one before"
        raise UserError(field, budgets, allowed)


def _bracket(budgets: Sequence[int], reduction: int, cuts: int, first: int = 0) -> list[Stage]:
    most = len(budgets) - 1
    count = first or math.ceil((most + 1) / (cuts + 1) * reduction**cuts)
    return [
        Stage(count // reduction**i, budget, i == 0)
        for i, budget in enumerate(budgets[most - cuts :])
    ]


def _staged(space: Space, metric: str, stages: Sequence[Stage]) -> Propose:
    """Proposes trials stage by stage; the number of trials determines the stage.

    A failed trial is replaced by the next best of the previous stage or, if none is left, by a new
    random one.
    """

    def propose(history: History, rng: np.random.Generator) -> Proposal | None:
        start, before, whole = 0, 0, [trial for trial in history if trial.failed is None]
        for stage in itertools.cycle(stages):
            if len(whole) < start + stage.trials:
                break
            start, before = start + stage.trials, start
        if stage.first:
            return Proposal(fresh(space, known(history), rng), None, stage.budget)
        last = whole[before:start]
        if any(trial.metrics is None for trial in last):
            return None
        gone_on = {trial.parent for trial in history}
        left = [trial for trial in last if trial.number not in gone_on]
        if not left:
            return Proposal(fresh(space, known(history), rng), None, stage.budget)
        winner = best(left, metric)
        return Proposal(winner.architecture, winner.number, stage.budget)

    return propose
