"""Training curves, averaged over seeds, with at most 200 points each."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from gpnas.report import formatting
from gpnas.report._read import Run

MAX_POINTS = 200


@dataclasses.dataclass(frozen=True, eq=False)
class Curve:
    """A quantity as a function of the step.

    Attributes:
      steps: (N,) increasing.
      mean: (N,) mean over seeds.
      low: (N,) smallest seed.
      high: (N,) largest seed.
    """

    steps: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray


def curve_points(run: Run) -> Sequence[Mapping[str, Any]]:
    """Returns the run's curve from its record or, without one, from its log."""
    return formatting.items(run.record, "curve") or run.train


def density_curve(runs: Sequence[Run], layer: str | None = None) -> Curve | None:
    """Returns the density over training, of the whole network or of one layer.

    Args:
      runs: Runs to average over.
      layer: The layer's path; None for the whole network.

    Returns:
      The mean curve, or None if no run has one.
    """
    path = ("density",) if layer is None else ("layers", layer, "density")
    return _average([_track(curve_points(run), path) for run in runs])


def validation(runs: Sequence[Run]) -> Curve | None:
    """Returns the validation metric over training, for runs with the same metric."""
    return _average([_track(run.validation, (run.metric.name,)) for run in runs])


def rate(runs: Sequence[Run], kind: str) -> Curve | None:
    """Returns the mean number of weights grown or pruned per step since the previous point.

    Cumulative counts are sampled, so each change is counted once, also if points are left out.
    Points much closer than others, as at the end of an epoch, are left out: a mask update between
    two of them would be drawn as a peak.

    Args:
      runs: Runs to average over.
      kind: `"grown"` or `"pruned"`.

    Returns:
      The mean rate, or None if no run has counts.
    """
    tracks = []
    for run in runs:
        counts = _track(curve_points(run), (kind,))
        if counts is not None:
            steps, grown = counts
            if steps[0] > 0:
                steps, grown = np.append(0.0, steps), np.append(0.0, grown)
            kept = _spaced(steps)
            tracks.append((steps[kept], np.cumsum(grown)[kept]))

    def slopes(total: np.ndarray, steps: np.ndarray) -> np.ndarray:
        return np.diff(total, prepend=total[0]) / np.maximum(np.diff(steps, prepend=steps[0]), 1)

    return _average(tracks, slopes)


def _spaced(steps: np.ndarray) -> list[int]:
    """Returns indices of steps at least half the median distance apart, with the last one."""
    least = np.median(np.diff(steps)) / 2 if len(steps) > 1 else 0.0
    kept = [0]
    for index in range(1, len(steps)):
        if steps[index] - steps[kept[-1]] >= least:
            kept.append(index)
    return [*kept[:-1], len(steps) - 1]


def layer_paths(runs: Sequence[Run]) -> list[str]:
    """Returns the paths of layers in the runs' curves, in order of first appearance."""
    names: dict[str, None] = {}
    for run in runs:
        for point in curve_points(run)[:1]:
            tree = formatting.dig(point, "layers")
            if isinstance(tree, Mapping):
                names.update(dict.fromkeys(map(str, tree)))
    return list(names)


_Track = tuple[np.ndarray, np.ndarray]


def _track(rows: Sequence[Mapping[str, Any]], path: tuple[str, ...]) -> _Track | None:
    pairs: dict[float, float] = {}
    for row in rows:
        step, value = formatting.number(row, "step"), formatting.number(row, *path)
        if step is not None and value is not None:
            pairs[step] = value
    if not pairs:
        return None
    steps = sorted(pairs)
    return np.array(steps), np.array([pairs[step] for step in steps])


def _average(
    tracks: Sequence[_Track | None],
    transform: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None,
) -> Curve | None:
    """Averages tracks at steps covered by all of them."""
    real = [track for track in tracks if track is not None]
    if not real:
        return None
    steps = real[0][0]
    same = all(np.array_equal(track[0], steps) for track in real)
    if not same or len(steps) > MAX_POINTS:
        first = max(track[0][0] for track in real)
        last = min(track[0][-1] for track in real)
        if last < first:
            first, last = real[0][0][0], real[0][0][-1]
            real = real[:1]
        shared = np.unique(np.concatenate([track[0] for track in real]))
        shared = shared[(shared >= first) & (shared <= last)]
        # A subset of the existing steps, without interpolation.
        chosen = np.linspace(0, len(shared) - 1, min(len(shared), MAX_POINTS)).round().astype(int)
        steps = shared[np.unique(chosen)]
    stacked = np.stack([np.interp(steps, *track) for track in real])
    if transform is not None:
        stacked = np.stack([transform(row, steps) for row in stacked])
    return Curve(steps, stacked.mean(0), stacked.min(0), stacked.max(0))
