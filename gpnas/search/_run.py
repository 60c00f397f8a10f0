"""Searches on one machine, and simulated searches by many workers."""

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
    check_wait,
    completed,
    exhausted,
)

#: Metrics by name.
Metrics = Mapping[str, float]
#: `trial → metrics`, for a trial without metrics.
Evaluate = Callable[[Trial], Metrics]
#: `trials → outcomes` of trials evaluated together; an outcome is metrics or `Failed`.
EvaluateAll = Callable[[Sequence[Trial]], Sequence[Outcome]]


def randomness(seed: int, number: int) -> np.random.Generator:
    """Returns the random generator of a trial; it depends on the seed and the trial's index."""
    return np.random.default_rng((seed, number))


def each(evaluate: Evaluate) -> EvaluateAll:
    """Evaluates trials one after the other; a trial that raises has failed."""
    return lambda trials: [attempt(functools.partial(evaluate, trial)) for trial in trials]


def search(
    propose: Propose,
    evaluate: Evaluate,
    evaluations: int,
    seed: int = 0,
    history: History = (),
    stop: Callable[[Trial], bool] = lambda trial: False,
    failures: int = FAILURES,
) -> list[Trial]:
    """Evaluates proposals until `evaluations` distinct candidates have been evaluated.

    A candidate is a pair of architecture and budget. Repeated candidates take their metrics from
    the history. Resuming is deterministic: the random numbers of a trial depend only on the seed
    and the trial's index. The search also ends after 1,000 consecutive repeats.

    Args:
      propose: The strategy.
      evaluate: `trial → metrics`, lower is better. A trial fails if this raises, or if a metric is
        not finite.
      evaluations: Number of distinct candidates to evaluate, including those in `history`, not
        counting failed ones.
      seed: Seed of all random numbers.
      history: History to resume.
      stop: `trial → whether to end the search after it`.
      failures: Number of consecutive failures after which the search ends.

    Returns:
      The complete history.

    Raises:
      TooManyFailures: After `failures` consecutive failures.
      UserError: If the strategy proposes nothing although no trial is under way.
    """

    def enough(trials: History) -> bool:
        return bool(trials) and trials[-1].failed is None and stop(trials[-1])

    return search_together(propose, each(evaluate), evaluations, enough, 1, seed, history, failures)


def search_together(
    propose: Propose,
    evaluate: EvaluateAll,
    evaluations: int,
    enough: Callable[[History], bool] = lambda history: False,
    together: int = 1,
    seed: int = 0,
    history: History = (),
    failures: int = FAILURES,
) -> list[Trial]:
    """Runs a search as `search` does, with several candidates evaluated together.

    While a group is collected, the strategy sees its earlier proposals as running trials, as if
    other workers evaluated them.

    Args:
      propose, evaluations, seed, history, failures: As for `search`.
      evaluate: `trials → metrics` of each (lower is better), or `Failed`.
      enough: `history → whether to end early`, called after each evaluation.
      together: Number of candidates per evaluation.

    Returns:
      The complete history.

    Raises:
      TooManyFailures, UserError: As `search`.
    """
    trials = list(history)
    first = {(t.architecture, t.budget): t for t in reversed(trials) if t.repeats is None}
    made = sum(trial.failed is None for trial in first.values())
    while made < evaluations and not exhausted(trials):
        check_failures(trials, failures)
        start = len(trials)
        new: list[Trial] = []
        batch = min(together, evaluations - made)
        while len(trials) < start + batch:
            proposal = ask(propose, trials, randomness(seed, len(trials)))
            if proposal is None:
                check_wait(trials[start:])
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
    """Returns the trial with the outcome of the first trial of the same architecture."""
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
    """Simulates a search by many workers with a simulated clock; results are deterministic.

    Unlike `search`, it evaluates repeated architectures again.

    Args:
      propose: The strategy; running trials have no metrics yet.
      evaluate: As for `search`.
      duration: `trial → time of its evaluation`.
      workers: Number of workers.
      until: Time from which no trial starts; trials that end later are left out.
      seed: Seed of all random numbers.
      failures: As for `search`.

    Returns:
      `(end time, trial)` in order of end time, including failed trials.

    Raises:
      TooManyFailures, UserError: As `search`.
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
                check_wait(trials)
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
