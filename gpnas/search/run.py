"""Searches on one machine: propose, evaluate, remember."""

import heapq
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from gpnas.search.history import History, Propose, Trial, begun, rooted

Metrics = Mapping[str, float]
Evaluate = Callable[[Trial], Metrics]  # of a trial that has no metrics yet
EvaluateAll = Callable[[Sequence[Trial]], Sequence[Metrics]]  # of several, together


def randomness(seed: int, number: int) -> np.random.Generator:
    """Of one trial, by its place in the history."""
    return np.random.default_rng((seed, number))


def each(evaluate: Evaluate) -> EvaluateAll:
    """Evaluates several trials one after the other."""
    return lambda trials: [evaluate(trial) for trial in trials]


def search(
    propose: Propose,
    evaluate: Evaluate,
    evaluations: int,
    seed: int = 0,
    history: History = (),
    stop: Callable[[Trial], bool] = lambda trial: False,
    most: int = 10**6,
) -> list[Trial]:
    """Evaluates what a strategy proposes, until so many different architectures were evaluated.

    What was evaluated before is looked up in the history and costs nothing. A search that goes on
    from a history is the same as one that was not interrupted: the randomness of a trial comes
    from the seed and its number.

    Args:
      propose: The strategy.
      evaluate: `trial → metrics`, lower ones better.
      evaluations: Different ones to make in all, those of `history` included.
      seed: Of all randomness.
      history: To go on from.
      stop: Whether to end early, after this trial.
      most: Trials in all, repeats included.

    Returns:
      The whole history.
    """

    def enough(trials: History) -> bool:
        return bool(trials) and stop(trials[-1])

    return search_together(propose, each(evaluate), evaluations, enough, 1, seed, history, most)


def search_together(
    propose: Propose,
    evaluate: EvaluateAll,
    evaluations: int,
    enough: Callable[[History], bool] = lambda history: False,
    together: int = 1,
    seed: int = 0,
    history: History = (),
    most: int = 10**6,
) -> list[Trial]:
    """As `search`, with several candidates evaluated together.

    A strategy sees those of its proposals that are to be evaluated together as trials without
    metrics, as if other workers were at them.

    Args:
      propose, evaluations, seed, history, most: As for `search`.
      evaluate: `trials → metrics` of each, lower ones better.
      enough: Whether to end early, by the history after each evaluation.
      together: Candidates of one evaluation.

    Returns:
      The whole history.
    """
    trials = list(history)
    first = {(t.architecture, t.budget): t for t in reversed(trials) if t.repeats is None}
    while len(first) < evaluations and len(trials) < most:
        start = len(trials)
        new: list[Trial] = []
        room = min(together, evaluations - len(first))
        while len(trials) < start + room:
            proposal = propose(trials, randomness(seed, len(trials)))
            if proposal is None:
                assert new, "nothing is under way that it could wait for"
                break
            trial = begun(len(trials), proposal)
            if first.setdefault((trial.architecture, trial.budget), trial) is trial:
                new.append(trial)
            trials.append(trial)
        asked = [rooted(trials, trial) for trial in new]
        for trial, metrics in zip(new, evaluate(asked) if asked else (), strict=True):
            trials[trial.number] = trial._replace(metrics=metrics)
            first[trial.architecture, trial.budget] = trials[trial.number]
        for at in range(start, len(trials)):
            if trials[at].metrics is None:
                seen = first[trials[at].architecture, trials[at].budget]
                trials[at] = trials[at]._replace(metrics=seen.metrics, repeats=seen.number)
        if enough(trials):
            break
    return trials


def simulate(
    propose: Propose,
    evaluate: Evaluate,
    duration: Callable[[Trial], float],
    workers: int,
    until: float,
    seed: int = 0,
) -> list[tuple[float, Trial]]:
    """A search by many workers on a clock that is not real, so that its results repeat.

    Args:
      propose: The strategy; it sees trials that are under way as ones without metrics.
      evaluate: `trial → metrics`.
      duration: `trial → time` that its evaluation takes.
      workers: How many there are.
      until: Nothing is begun at or after this time, and what ends later is left out.
      seed: Of all randomness.

    Returns:
      `(time of its end, trial)` in the order in which they ended.
    """
    trials: list[Trial] = []
    ended: list[tuple[float, Trial]] = []
    running: list[tuple[float, int]] = []
    now = 0.0
    while True:
        while now < until and len(running) < workers:
            proposal = propose(trials, randomness(seed, len(trials)))
            if proposal is None:
                break
            trial = begun(len(trials), proposal)
            trials.append(trial)
            heapq.heappush(running, (now + duration(trial), trial.number))
        if not running:
            return ended
        now, number = heapq.heappop(running)
        trials[number] = trials[number]._replace(metrics=evaluate(trials[number]))
        if now <= until:
            ended.append((now, trials[number]))
