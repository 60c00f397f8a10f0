"""One search on one machine: propose, evaluate, remember."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from gpnas.search.history import History, Propose, Trial


def search(
    propose: Propose,
    evaluate: Callable[[Any], Mapping[str, float]],
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
      evaluate: Metrics of an architecture, lower ones better.
      evaluations: Different architectures to evaluate in all, those of `history` included.
      seed: Of all randomness.
      history: To go on from.
      stop: Whether to end early, after this trial.
      most: Trials in all, repeats included.

    Returns:
      The whole history.
    """
    trials = list(history)
    first = {t.architecture: t for t in reversed(trials) if t.repeats is None}
    while len(first) < evaluations and len(trials) < most:
        rng = np.random.default_rng((seed, len(trials)))
        architecture, parent = propose(trials, rng)
        seen = first.get(architecture)
        metrics = evaluate(architecture) if seen is None else seen.metrics
        trial = Trial(len(trials), architecture, metrics, parent, seen and seen.number)
        trials.append(trial)
        first.setdefault(architecture, trial)
        if stop(trial):
            break
    return trials
