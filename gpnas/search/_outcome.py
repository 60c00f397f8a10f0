"""Outcomes of evaluations, metrics or failures, and the limit on consecutive failures.

A candidate fails if its evaluation raises or returns a metric that is not finite. It stays in the
history with the reason and is not proposed again.
"""

import itertools
import math
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

import numpy as np

from gpnas._files import NO_SPACE
from gpnas.errors import GaveUp, UserError, brief
from gpnas.search._history import History, Proposal, Propose, Trial

FAILURES = 20  # consecutive failures after which a search ends
_REPEATS = 1000  # consecutive repeats after which a space counts as exhausted
_ASKED = 20  # calls of a strategy for a proposal that has not failed


class TooManyFailures(GaveUp):
    """Too many candidates failed in a row."""


class Failed(NamedTuple):
    """Reason why a candidate has no metrics."""

    reason: str


#: The metrics of a candidate, or the reason of its failure.
Outcome = Mapping[str, float] | Failed


def attempt(evaluate: Callable[[], Any]) -> Any:
    """Returns the result of an evaluation, or `Failed` with the exception that it raised.

    Raises:
      UserError: From the evaluation, for an invalid setting of the search, not of the candidate.
      OSError: If the disk is full.
    """
    try:
        return evaluate()
    except UserError:
        raise
    except Exception as error:  # a user's module or objective may raise anything
        if isinstance(error, OSError) and error.errno in NO_SPACE:
            raise
        return Failed(brief(error))


def completed(trial: Trial, outcome: Outcome, needed: Collection[str] = ()) -> Trial:
    """Returns the trial with its metrics; failed if one is not finite or a needed one missing."""
    if isinstance(outcome, Failed):
        return trial._replace(failed=outcome.reason)
    for name in needed:
        if name not in outcome:
            return trial._replace(failed=f"{name} is missing")
    metrics: dict[str, float] = {}
    for name, value in outcome.items():
        try:
            metrics[name] = value if type(value) in (int, float) else float(value)
        except (TypeError, ValueError):
            return trial._replace(failed=f"{name} is {value!r:.100}, not a number")
        if not math.isfinite(metrics[name]):
            return trial._replace(failed=f"{name} is {value}")
    return trial._replace(metrics=metrics)


def ask(propose: Propose, history: History, rng: np.random.Generator) -> Proposal | None:
    """Calls a strategy until its proposal is one that has not failed."""
    failed = {trial.architecture for trial in history if trial.failed is not None}
    proposal = propose(history, rng)
    for _ in range(_ASKED):
        if proposal is None or proposal.architecture not in failed:
            break
        proposal = propose(history, rng)
    return proposal


def check_wait(history: History) -> None:
    """Checks that a strategy that proposes nothing can wait for a trial.

    Args:
      history: Trials of which one should be under way.

    Raises:
      UserError: If none is.
    """
    if all(trial.metrics is not None or trial.failed is not None for trial in history):
        allowed = "a proposal; the strategy can wait only while a trial is under way"
        raise UserError("strategy.name", None, allowed)


def exhausted(history: History) -> bool:
    """Returns whether the last 1,000 trials were all repeats."""
    last = history[-_REPEATS:]
    return len(last) == _REPEATS and all(trial.repeats is not None for trial in reversed(last))


def check_failures(history: History, most: int) -> None:
    """Checks that not all of the last candidates failed.

    Args:
      history: Trial history.
      most: Number of consecutive failures that is too many.

    Raises:
      TooManyFailures: If there are that many; the message has the last trial and its reason.
    """
    ended = (
        trial
        for trial in reversed(history)
        if trial.failed is not None or (trial.metrics is not None and trial.repeats is None)
    )
    last = list(itertools.islice(ended, most))
    if len(last) == most and all(trial.failed is not None for trial in last):
        shown = f"{last[0].architecture}"
        shown = shown if len(shown) <= 200 else f"{shown[:200]} …"
        raise TooManyFailures(
            f"{most} candidates failed in a row, the last {shown}: {last[0].failed}; "
            "a larger config.failures continues the search"
        )
