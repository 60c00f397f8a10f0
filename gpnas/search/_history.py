"""The trial history. Strategies are stateless functions of it."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np


class Trial(NamedTuple):
    """A proposed architecture and the result of its evaluation.

    Attributes:
      number: Its place in the history, from 0.
      architecture: Data that a space understands; hashable.
      metrics: By name, finite; strategies minimise them. None as long as it is being evaluated,
        and if it failed.
      parent: Number of the trial that it was made from; None if it was drawn afresh.
      repeats: Number of an earlier trial of the same architecture, whose metrics these are, or
        whose failure this is.
      budget: What its evaluation may cost, in the search's own unit; 0 if that never differs.
      failed: Why it has no metrics and never will; None if it has not failed.
    """

    number: int
    architecture: Any
    metrics: Mapping[str, float] | None = None
    parent: int | None = None
    repeats: int | None = None
    budget: int = 0
    failed: str | None = None


class Proposal(NamedTuple):
    """What to evaluate next; the fields are those of `Trial`."""

    architecture: Any
    parent: int | None = None
    budget: int = 0


#: Trials in the order of their numbers, finished or under way.
History = Sequence[Trial]
#: `(history, rng) → proposal`, None if nothing can be proposed before a trial under way has ended.
Propose = Callable[[History, np.random.Generator], Proposal | None]


def begun(number: int, proposal: Proposal) -> Trial:
    """The trial of a proposal, without metrics."""
    return Trial(number, proposal.architecture, None, proposal.parent, None, proposal.budget)


def rooted(history: History, trial: Trial) -> Trial:
    """A trial whose parent was evaluated itself: if it repeats another, that one is the parent."""
    repeated = {other.number: other.repeats for other in history}
    instead = None if trial.parent is None else repeated.get(trial.parent)
    return trial if instead is None else trial._replace(parent=instead)


def evaluated(history: History) -> list[Trial]:
    """The trials that have metrics, in order."""
    return [trial for trial in history if trial.metrics is not None]


def known(history: History) -> set[Any]:
    """Architectures that were proposed before, whether evaluated, under way or failed."""
    return {trial.architecture for trial in history}


def failures(history: History) -> set[Any]:
    """Architectures that failed."""
    return {trial.architecture for trial in history if trial.failed is not None}


def best(trials: Sequence[Trial], metric: str) -> Trial:
    """The first trial with the lowest metric; of one or more that have metrics.

    Args:
      trials: One or more trials that have metrics.
      metric: Name of the metric.
    """
    return min(trials, key=lambda trial: value(trial, metric))


def value(trial: Trial, metric: str) -> float:
    """A metric of a trial that has metrics."""
    assert trial.metrics is not None
    return trial.metrics[metric]


def minimised(history: History, maximised: Collection[str]) -> History:
    """A history in which metrics whose higher values are better have the other sign.

    Args:
      history: Trials with metrics as they are reported.
      maximised: Names of those metrics.
    """
    if not maximised:
        return history

    def turned(metrics: Mapping[str, float]) -> dict[str, float]:
        return {name: -value if name in maximised else value for name, value in metrics.items()}

    return [
        trial if trial.metrics is None else trial._replace(metrics=turned(trial.metrics))
        for trial in history
    ]
