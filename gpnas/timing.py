"""How time is taken.

Things are compared by calling them in turn, many times, in one process: what else the machine does
then slows all of them. Each is called once before, to compile and to warm up.
"""

import contextlib
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import jax

Seconds = dict[str, list[float]]
_COMPILING = "/jax/core/compile/"  # jax's own events of tracing, lowering and compiling


@contextlib.contextmanager
def compiling() -> Iterator[Callable[[], float]]:
    """Yields `() → seconds` that this process has spent tracing or compiling since then."""
    spans: list[tuple[float, float]] = []

    def note(event: str, duration_secs: float, **kwargs: str | int) -> None:
        del kwargs
        if event.startswith(_COMPILING):
            now = time.perf_counter()
            spans.append((now - duration_secs, now))

    jax.monitoring.register_event_duration_secs_listener(note)
    try:
        yield lambda: covered(spans)
    finally:
        jax.monitoring.unregister_event_duration_listener(note)


def covered(spans: Iterable[tuple[float, float]]) -> float:
    """Length of the union of spans: one trace may lie within another."""
    total, reached = 0.0, float("-inf")
    for begin, end in sorted(spans):
        total += max(end - max(begin, reached), 0.0)
        reached = max(reached, end)
    return total


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
