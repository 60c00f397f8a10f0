"""Random search."""

from collections.abc import Callable
from typing import Any

import numpy as np

from gpnas.search._history import History, Proposal, Propose, Trial, evaluated, known
from gpnas.search._space import Space

#: `(trials with metrics, known architectures, rng) → proposal`; None: a new sample.
Choose = Callable[[list[Trial], set[Any], np.random.Generator], Proposal | None]
TRIES = 1000  # samples until a new one; the space may be smaller than the search


def random(space: Space) -> Propose:
    """Samples architectures that have not been proposed before.

    References:
      Li & Talwalkar 2020 (arXiv:1902.07638).
    """

    def propose(history: History, rng: np.random.Generator) -> Proposal:
        return Proposal(fresh(space, known(history), rng))

    return propose


def after_random(space: Space, first: int, choose: Choose) -> Propose:
    """Samples `first` new architectures, then those that `choose` returns; a sample where None."""

    def propose(history: History, rng: np.random.Generator) -> Proposal:
        trials, old = evaluated(history), known(history)
        chosen = choose(trials, old, rng) if len(trials) >= first else None
        return chosen or Proposal(fresh(space, old, rng))

    return propose


def fresh(space: Space, old: set, rng: np.random.Generator) -> Any:
    """Returns a random architecture that is not among the old ones, if one is found."""
    return unseen(lambda: space.sample(rng), old)


def unseen(draw: Callable[[], Any], old: set) -> Any:
    """Draws architectures until one is not among the old ones; after `TRIES`, returns the last."""
    for _ in range(TRIES):
        architecture = draw()
        if architecture not in old:
            break
    return architecture
