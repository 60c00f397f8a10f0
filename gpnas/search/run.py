"""Searches on one machine: propose, evaluate, remember."""

import heapq
from collections.abc import Callable, Mapping

import numpy as np

from gpnas.search.history import History, Propose, Trial, begun

Evaluate = Callable[[Trial], Mapping[str, float]]  # of a trial that has no metrics yet


def randomness(seed: int, number: int) -> np.random.Generator:
    """Of one trial, by its place in the history."""
    return np.random.default_rng((seed, number))


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
    trials = list(history)
    first = {(t.architecture, t.budget): t for t in reversed(trials) if t.repeats is None}
    while len(first) < evaluations and len(trials) < most:
        rng = randomness(seed, len(trials))
        proposal = propose(trials, rng)
        assert proposal is not None, "nothing is under way that it could wait for"
        trial = begun(len(trials), proposal)
        seen = first.get((trial.architecture, trial.budget))
        if seen is None:
            trial = trial._replace(metrics=evaluate(trial))
        else:
            trial = trial._replace(metrics=seen.metrics, repeats=seen.number)
        trials.append(trial)
        first.setdefault((trial.architecture, trial.budget), trial)
        if stop(trial):
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
