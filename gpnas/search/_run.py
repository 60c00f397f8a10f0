"""Searches on one machine, and simulated ones on many."""

import functools
import heapq
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from gpnas.search._history import History, Propose, Trial, begun, rooted
from gpnas.search._outcome import (
    FAILURES,
    Outcome,
    ask,
    attempt,
    check_failures,
    completed,
    exhausted,
)

Metrics = Mapping[str, float]
#: `trial → metrics`, of a trial that has none yet.
Evaluate = Callable[[Trial], Metrics]
#: `trials → outcomes`, evaluated together; an outcome is metrics or `Failed`.
EvaluateAll = Callable[[Sequence[Trial]], Sequence[Outcome]]


def randomness(seed: int, number: int) -> np.random.Generator:
    """The random generator of a trial, by its place in the history."""
    return np.random.default_rng((seed, number))


def each(evaluate: Evaluate) -> EvaluateAll:
    """Evaluates trials one after the other; one that raises has failed."""
    return lambda trials: [attempt(functools.partial(evaluate, trial)) for trial in trials]


def search(
    propose: Propose,
    evaluate: Evaluate,
    evaluations: int,
    seed: int = 0,
    history: History = (),
    stop: Callable[[Trial], bool] = lambda trial: False,
    most: int = 10**6,
    failures: int = FAILURES,
) -> list[Trial]:
    """Evaluates proposals until `evaluations` distinct architectures have been evaluated.

    What was evaluated before is looked up in the history and costs nothing. A search that goes on
    from a history is the same as one that was not interrupted: the randomness of a trial comes
    from the seed and its number. It also ends after 1,000 trials without a new architecture.

    Args:
      propose: The strategy.
      evaluate: `trial → metrics`, lower ones better. A trial fails if this raises, or if a metric
        is not finite.
      evaluations: Number of distinct architectures to evaluate, those of `history` included.
      seed: Of all randomness.
      history: History to resume.
      stop: Whether to end early, after this trial.
      most: Largest number of trials, repeats included.
      failures: Number of failures in a row after which the search ends.

    Returns:
      The whole history.

    Raises:
      TooManyFailures: After `failures` failures in a row.
    """

    def enough(trials: History) -> bool:
        return bool(trials) and trials[-1].failed is None and stop(trials[-1])

    return search_together(
        propose, each(evaluate), evaluations, enough, 1, seed, history, most, failures
    )


def search_together(
    propose: Propose,
    evaluate: EvaluateAll,
    evaluations: int,
    enough: Callable[[History], bool] = lambda history: False,
    together: int = 1,
    seed: int = 0,
    history: History = (),
    most: int = 10**6,
    failures: int = FAILURES,
) -> list[Trial]:
    """As `search`, with several candidates evaluated together.

    A strategy sees those of its proposals that are to be evaluated together as trials without
    metrics, as if other workers evaluated them.

    Args:
      propose, evaluations, seed, history, most, failures: As for `search`.
      evaluate: `trials → metrics` of each, lower ones better, or `Failed`.
      enough: Whether to end early, by the history after each evaluation.
      together: Number of candidates of one evaluation.

    Returns:
      The whole history.

    Raises:
      TooManyFailures: As `search`.
    """
    trials = list(history)
    first = {(t.architecture, t.budget): t for t in reversed(trials) if t.repeats is None}
    made = sum(trial.failed is None for trial in first.values())
    while made < evaluations and len(trials) < most and not exhausted(trials):
        check_failures(trials, failures)
        start = len(trials)
        new: list[Trial] = []
        batch = min(together, evaluations - made)
        while len(trials) < start + batch:
            proposal = ask(propose, trials, randomness(seed, len(trials)))
            if proposal is None:
                assert new, "nothing is under way that it could wait for"
                break
            trial = begun(len(trials), proposal)
            if first.setdefault((trial.architecture, trial.budget), trial) is trial:
                new.append(trial)
            trials.append(trial)
        asked = [rooted(trials, trial) for trial in new]
        for trial, outcome in zip(new, evaluate(asked) if asked else (), strict=True):
            trials[trial.number] = completed(trial, outcome)
            first[trial.architecture, trial.budget] = trials[trial.number]
            made += trials[trial.number].failed is None
        trials[start:] = [
            _repeated(trial, first[trial.architecture, trial.budget]) for trial in trials[start:]
        ]
        if enough(trials):
            break
    return trials


def _repeated(trial: Trial, first: Trial) -> Trial:
    """The trial with the outcome of the first one of the same, if that is another."""
    if first.number == trial.number:
        return trial
    return trial._replace(metrics=first.metrics, repeats=first.number, failed=first.failed)


def simulate(
    propose: Propose,
    evaluate: Evaluate,
    duration: Callable[[Trial], float],
    workers: int,
    until: float,
    seed: int = 0,
    failures: int = FAILURES,
) -> list[tuple[float, Trial]]:
    """Simulates a search by many workers on a simulated clock, so that its results repeat.

    Args:
      propose: The strategy; trials that are under way have no metrics yet.
      evaluate: As for `search`.
      duration: `trial → time` that its evaluation takes.
      workers: Number of workers.
      until: Time at and after which no trial begins; trials that end later are left out.
      seed: Of all randomness.
      failures: As for `search`.

    Returns:
      `(time of its end, trial)` in the order in which they ended, those that failed included.

    Raises:
      TooManyFailures: As `search`.
    """
    trials: list[Trial] = []
    ended: list[tuple[float, Trial]] = []
    running: list[tuple[float, int]] = []
    now = 0.0
    while True:
        check_failures(trials, failures)
        while now < until and len(running) < workers:
            proposal = ask(propose, trials, randomness(seed, len(trials)))
            if proposal is None:
                break
            trial = begun(len(trials), proposal)
            trials.append(trial)
            heapq.heappush(running, (now + duration(trial), trial.number))
        if not running:
            return ended
        now, number = heapq.heappop(running)
        trial = trials[number]
        trials[number] = completed(trial, attempt(functools.partial(evaluate, trial)))
        if now <= until:
            ended.append((now, trials[number]))
