"""Breakdown of a run's time.

A metrics line has `wall_s`, the seconds of training and evaluation so far, and seconds since the
previous line: `start_s`, `compile_s` and `data_s` (both included in `wall_s`), `save_s`, and
`lost_s` (work undone by an interruption, and the restart). The record's `seconds` are their sums.
"""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from gpnas import timing

_LEAST = 1e-3  # seconds; shorter times are added to a later line
REPORTED = ("start_s", "compile_s", "data_s", "save_s", "lost_s")


class Instant(NamedTuple):
    """Wall-clock time and cumulative compile time, in seconds."""

    time: float
    compiled: float


@contextlib.contextmanager
def stopwatch() -> Iterator[Callable[[], Instant]]:
    """Yields a function that returns the current `Instant`."""
    with timing.compiling() as compiled:
        yield lambda: Instant(time.monotonic(), compiled())


def charge(pending: Mapping[str, float], **seconds: float) -> dict[str, float]:
    """Adds seconds by activity, reported with the next metrics line."""
    return {**pending, **{name: pending.get(name, 0.0) + more for name, more in seconds.items()}}


def split_due(pending: Mapping[str, float]) -> tuple[dict[str, float], dict[str, float]]:
    """Splits seconds into those for the next line and those too short to report."""
    reported = {name: round(value, 3) for name, value in pending.items() if value >= _LEAST}
    return reported, {name: value for name, value in pending.items() if name not in reported}


def goodput(
    lines: Sequence[Mapping[str, Any]], pending: Mapping[str, float] | None = None
) -> dict[str, float]:
    """Returns the seconds of a run by activity, and the fraction spent on training.

    Args:
      lines: Metrics lines of the run.
      pending: Seconds not yet reported.
    """
    reported = {name: _sum(lines, name) + (pending or {}).get(name, 0.0) for name in REPORTED}
    split, before = {"train": 0.0, "validation": 0.0}, 0.0
    for line in lines:
        split[line["split"]] += line["wall_s"] - before - line.get("compile_s", 0.0)
        before = line["wall_s"]
    seconds = {
        "starting": reported["start_s"],
        "compiling": reported["compile_s"],
        "training": split["train"] - reported["data_s"],
        "evaluating": split["validation"],
        "waiting_for_data": reported["data_s"],
        "saving": reported["save_s"],
        "lost": reported["lost_s"],
    }
    seconds = {name: round(max(value, 0.0), 3) for name, value in seconds.items()}
    return seconds | {"goodput": round(seconds["training"] / max(sum(seconds.values()), 1e-3), 4)}


def undone(lines: Sequence[Mapping[str, Any]], kept: int) -> float:
    """Returns the seconds of reported work that a run repeats, since only the first lines are kept.

    Args:
      lines: All complete lines in the file, with any content.
      kept: Number of lines kept.
    """
    dropped = lines[kept:]
    if not dropped:
        return 0.0
    wall = _number(dropped[-1], "wall_s") - (_number(lines[kept - 1], "wall_s") if kept else 0.0)
    return max(wall, 0.0) + sum(_sum(dropped, name) for name in ("start_s", "save_s", "lost_s"))


def _sum(lines: Sequence[Mapping[str, Any]], name: str) -> float:
    return sum(_number(line, name) for line in lines)


def _number(line: Mapping[str, Any], name: str) -> float:
    value: Any = line.get(name)
    return float(value) if type(value) in (int, float) else 0.0
