"""Asynchronous successive halving (ASHA)."""

import numpy as np

from gpnas._settings import Counts, Factor
from gpnas.search._history import History, Proposal, Propose, evaluated, known, value
from gpnas.search._space import Space
from gpnas.search.strategies._halving import check_budgets
from gpnas.search.strategies._random import fresh


def asha(space: Space, metric: str, budgets: Counts, reduction: Factor = 4) -> Propose:
    """Promotes a trial if possible, from the highest budget down; otherwise samples a new one.

    Args:
      space: The search space.
      metric: Metric to be minimised.
      budgets: Increasing budgets, each about `reduction` times the previous one.
      reduction: η; the best 1/η of the trials at a budget may be promoted to the next.

    Raises:
      UserError: If budgets do not increase.

    References:
      Li et al. 2020 (arXiv:1810.05934), algorithm 2.
    """
    check_budgets(budgets)

    def propose(history: History, rng: np.random.Generator) -> Proposal:
        for budget, larger in reversed(list(zip(budgets, budgets[1:], strict=False))):
            rung = [trial for trial in evaluated(history) if trial.budget == budget]
            rung.sort(key=lambda trial: value(trial, metric))
            promoted = {trial.parent for trial in history if trial.budget == larger}
            for trial in rung[: len(rung) // reduction]:
                if trial.number not in promoted:
                    return Proposal(trial.architecture, trial.number, larger)
        return Proposal(fresh(space, known(history), rng), None, budgets[0])

    return propose
