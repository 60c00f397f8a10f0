"""How time is taken.

Things are compared by calling them in turn, many times, in one process: what else the machine does
then slows all of them. Each is called once before, to compile and to warm up.
"""

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax

Seconds = dict[str, list[float]]


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
