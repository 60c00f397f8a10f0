"""Pareto fronts, crowding distances and archives for several minimised objectives."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from gpnas.search._history import History, Trial, evaluated, value


def points(trials: Sequence[Trial], objectives: Sequence[str]) -> np.ndarray:
    """Returns (trials, objectives) float64 of trials that have metrics."""
    rows = [[value(trial, name) for name in objectives] for trial in trials]
    return np.array(rows, np.float64).reshape(len(trials), len(objectives))


def dominates(a: np.ndarray, b: np.ndarray) -> Any:
    """Returns whether a dominates b: nowhere worse, somewhere better; bool, over the last axis."""
    return np.all(a <= b, -1) & np.any(a < b, -1)


def ranks(objectives: np.ndarray) -> np.ndarray:
    """Returns the non-dominated rank of each point; 0 is the Pareto front.

    Args:
      objectives: (points, objectives).

    Returns:
      (points,) int.

    References:
      Deb et al. 2002, NSGA-II, section III.
    """
    beaten = dominates(objectives[:, None], objectives[None])  # by row, whom
    found = np.full(len(objectives), -1)
    front = 0
    while (left := found < 0).any():
        found[left & ~beaten[left].any(0)] = front
        front += 1
    return found


def crowding(objectives: np.ndarray) -> np.ndarray:
    """Returns the crowding distance of each point of one front; inf at its ends.

    Args:
      objectives: (points, objectives).

    Returns:
      (points,) float64.

    References:
      Deb et al. 2002, NSGA-II, section III.
    """
    distance = np.zeros(len(objectives))
    for column in objectives.T if len(objectives) else ():
        order = np.argsort(column, kind="stable")
        span = column[order[-1]] - column[order[0]] or 1.0
        distance[order[[0, -1]]] = np.inf
        distance[order[1:-1]] += (column[order[2:]] - column[order[:-2]]) / span
    return distance


def archive(history: History, objectives: Sequence[str]) -> list[Trial]:
    """Returns the non-dominated evaluated trials without repeats, sorted by the first objective."""
    trials = [trial for trial in evaluated(history) if trial.repeats is None]
    if not trials:
        return []
    kept = [trials[i] for i in np.flatnonzero(ranks(points(trials, objectives)) == 0)]
    return sorted(kept, key=lambda trial: (value(trial, objectives[0]), trial.number))
