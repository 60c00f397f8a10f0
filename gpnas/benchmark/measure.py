"""What a measurement is, and how time is taken.

Two things are compared by calling them in turn, many times, in one process: what else the machine
does then slows both. Each is called once before, to compile and to warm up.
"""

import contextlib
import pathlib
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
from ml_collections import ConfigDict

from gpnas.errors import UserError

Seconds = dict[str, list[float]]
_COMPILING = "/jax/core/compile/"  # jax's own events of tracing, lowering and compiling


class Measurement(NamedTuple):
    """What was measured.

    Attributes:
      name: Its name in `MEASUREMENTS`.
      value, unit: The number.
      target: What it is to be, as a phrase ("≤ 1.1").
      holds: Whether it is.
      details: What it was computed from.
    """

    name: str
    value: float
    unit: str
    target: str
    holds: bool
    details: dict[str, Any]


class Options(NamedTuple):
    """How to measure.

    Attributes:
      configs: A config by name: "development", "rigl".
      results: Folder of the studies' records.
      fast: Tiny sizes: shows that the measurement works, and nothing else.
    """

    configs: Mapping[str, Callable[[], ConfigDict]]
    results: pathlib.Path
    fast: bool = False


class Missing(UserError):
    """What a measurement needs is not there; the others can go on."""


def interleave(functions: Mapping[str, Callable[[], Any]], rounds: int) -> Seconds:
    """Seconds of each call, `{name: [rounds]}`, in the order A B C A B C …, each warmed up by one.

    Args:
      functions: What to call; what they return is waited for.
      rounds: Calls of each that count.
    """
    for function in functions.values():
        jax.block_until_ready(function())
    taken: Seconds = {name: [] for name in functions}
    for _ in range(rounds):
        for name, function in functions.items():
            begun = time.perf_counter()
            jax.block_until_ready(function())
            taken[name].append(time.perf_counter() - begun)
    return taken


def ratio(taken: Seconds, ours: str, other: str) -> float:
    """Median of ours / median of the other."""
    return statistics.median(taken[ours]) / statistics.median(taken[other])


def summary(taken: Seconds, calls: int = 1) -> dict[str, Any]:
    """Details of a comparison: median and minimum in milliseconds, and how many were timed.

    Args:
      taken: As `interleave` gives it.
      calls: What one timed call did so many times (steps, say).
    """
    scale = 1000 / calls
    return {
        "median_ms": {n: round(scale * statistics.median(t), 4) for n, t in taken.items()},
        "minimum_ms": {n: round(scale * min(t), 4) for n, t in taken.items()},
        "rounds": len(next(iter(taken.values()))),
    }


class Compiling:
    """Time during which this process was tracing or compiling, within a `with`."""

    def __init__(self) -> None:
        self._spans: list[tuple[float, float]] = []

    def _note(self, event: str, duration_secs: float, **kwargs: str | int) -> None:
        del kwargs
        if event.startswith(_COMPILING):
            now = time.perf_counter()
            self._spans.append((now - duration_secs, now))

    @contextlib.contextmanager
    def watch(self) -> Iterator[None]:
        """Listens to jax's events while it lasts."""
        jax.monitoring.register_event_duration_secs_listener(self._note)
        try:
            yield
        finally:
            jax.monitoring.unregister_event_duration_listener(self._note)

    @property
    def seconds(self) -> float:
        """Length of the union of all the spans: one trace may lie within another."""
        total, reached = 0.0, float("-inf")
        for begin, end in sorted(self._spans):
            total += max(end - max(begin, reached), 0.0)
            reached = max(reached, end)
        return total
