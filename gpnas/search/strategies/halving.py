"""Successive halving and Hyperband: many at a small budget, the best of them at a larger one."""

import itertools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from gpnas._settings import Counts, Factor, Steps
from gpnas.errors import UserError
from gpnas.search._history import History, Proposal, Propose, best, known
from gpnas.search._space import Space
from gpnas.search.strategies.random import fresh


class Stage(NamedTuple):
    """Trials of one budget, the first of a bracket being random.

    Attributes:
      trials: How many.
      budget: Of each.
      first: Whether a bracket begins here.
    """

    trials: int
    budget: int
    first: bool


def successive_halving(
    space: Space, metric: str, budgets: Counts, reduction: Factor = 4, first: Steps = 0
) -> Propose:
    """One bracket after the other, each from the smallest budget.

    Args:
      space: Where to search.
      metric: To be minimised.
      budgets: Rising, each `reduction` times the one before or so.
      reduction: η; of each stage one in so many goes on.
      first: Trials of a bracket's first stage; 0 for as many as leave one at the largest budget.

    Raises:
      UserError: If budgets do not rise.

    References:
      Jamieson & Talwalkar 2016 (arXiv:1502.07943).
    """
    check_budgets(budgets)
    return _staged(space, metric, _bracket(budgets, reduction, len(budgets) - 1, first))


def hyperband(space: Space, metric: str, budgets: Counts, reduction: Factor = 4) -> Propose:
    """Brackets that begin at each of the budgets in turn, the smallest first.

    Args:
      space, metric, budgets, reduction: As for `successive_halving`.

    Raises:
      UserError: If budgets do not rise.

    References:
      Li et al. 2018 (arXiv:1603.06560), algorithm 1.
    """
    check_budgets(budgets)
    rungs = range(len(budgets) - 1, -1, -1)
    return _staged(space, metric, sum((_bracket(budgets, reduction, s) for s in rungs), []))


def check_budgets(budgets: Any, field: str = "strategy.budgets") -> None:
    """Makes sure that budgets are whole numbers above 0, each larger than the one before.

    Args:
      budgets: One or more.
      field: Of a config, for the message.

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
    """What comes next follows from how many trials there are: stages are of known lengths.

    The place of a trial that failed goes to the next best of the stage before, or, where none is
    left, to a new one.
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
