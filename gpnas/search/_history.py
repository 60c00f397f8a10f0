"""The trial history. Strategies are stateless functions of it."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np


class Trial(NamedTuple):
    """A proposed architecture and the result of its evaluation.

    Attributes:
      number: Index in the history, from 0.
      architecture: Hashable data that the space understands.
      metrics: Finite values by name; strategies minimise them. None while the trial is being
        evaluated, and if it failed.
      parent: Number of the parent trial; None if the architecture was sampled.
      repeats: Number of an earlier trial of the same architecture and budget, whose metrics or
        failure it shares; None if there is none.
      budget: Cost limit of the evaluation, in the search's own unit; 0 if the search has no
        budgets.
      failed: Reason of a failure; None if the trial has not failed.
    """

    number: int
    architecture: Any
    metrics: Mapping[str, float] | None = None
    parent: int | None = None
    repeats: int | None = None
    budget: int = 0
    failed: str | None = None


class Proposal(NamedTuple):
    """What to evaluate next; its fields are those of `Trial`."""

    architecture: Any
    parent: int | None = None
    budget: int = 0


#: Trials in the order of their numbers, finished or running.
History = Sequence[Trial]
#: `(history, rng) → proposal`, None if the strategy must wait for a running trial.
Propose = Callable[[History, np.random.Generator], Proposal | None]


def begun(number: int, proposal: Proposal) -> Trial:
    """Returns the trial of a proposal, without metrics."""
    return Trial(number, proposal.architecture, None, proposal.parent, None, proposal.budget)


def rooted(history: History, trial: Trial) -> Trial:
    """Returns the trial; a parent that is a repeat is replaced by the original trial."""
    repeated = {other.number: other.repeats for other in history}
    instead = None if trial.parent is None else repeated.get(trial.parent)
    return trial if instead is None else trial._replace(parent=instead)


def evaluated(history: History) -> list[Trial]:
    """Returns the trials that have metrics, in order."""
    return [trial for trial in history if trial.metrics is not None]


def known(history: History) -> set[Any]:
    """Returns all architectures proposed so far: evaluated, running or failed."""
    return {trial.architecture for trial in history}


def best(trials: Sequence[Trial], metric: str) -> Trial:
    """Returns the first trial with the lowest value of a metric.

    Args:
      trials: One or more trials with metrics.
      metric: Name of the metric.
    """
    return min(trials, key=lambda trial: value(trial, metric))


def value(trial: Trial, metric: str) -> float:
    """Returns the value of a metric of a trial that has metrics."""
    assert trial.metrics is not None
    return trial.metrics[metric]


def minimised(history: History, maximised: Collection[str]) -> History:
    """Returns the history with the signs of metrics to be maximised flipped.

    Args:
      history: Trials with metrics as reported.
      maximised: Names of metrics to be maximised.
    """
    if not maximised:
        return history

    def turned(metrics: Mapping[str, float]) -> dict[str, float]:
        return {name: -value if name in maximised else value for name, value in metrics.items()}

    return [
        trial if trial.metrics is None else trial._replace(metrics=turned(trial.metrics))
        for trial in history
    ]
