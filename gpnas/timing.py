"""Timing of function calls.

Functions are compared by calling them in turn, many times, in one process, so that other load on
the machine affects all of them. Each is called once beforehand, to compile and warm up.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import jax
from jax.experimental.compilation_cache import compilation_cache

#: Times of each measurement in seconds, by name.
Seconds = dict[str, list[float]]
_COMPILING = "/jax/core/compile/"  # JAX's events of tracing, lowering and compiling


@contextlib.contextmanager
def compiling() -> Iterator[Callable[[], float]]:
    """Yields `() → seconds` that this thread has spent tracing or compiling since then."""
    spans: list[tuple[float, float]] = []
    own = threading.get_ident()

    def note(event: str, duration_secs: float, **kwargs: str | int) -> None:
        del kwargs
        if event.startswith(_COMPILING) and threading.get_ident() == own:
            now = time.perf_counter()
            spans.append((now - duration_secs, now))

    jax.monitoring.register_event_duration_secs_listener(note)
    try:
        yield lambda: covered(spans)
    finally:
        jax.monitoring.unregister_event_duration_listener(note)


@contextlib.contextmanager
def without_stored_programs() -> Iterator[None]:
    """Forgets compiled programs and does not use JAX's cache on disk in the block."""
    before = jax.config.jax_enable_compilation_cache  # type: ignore[attr-defined]
    jax.config.update("jax_enable_compilation_cache", False)
    compilation_cache.reset_cache()  # otherwise the setting has no effect after the first program
    jax.clear_caches()
    try:
        yield
    finally:
        jax.config.update("jax_enable_compilation_cache", before)
        compilation_cache.reset_cache()


def covered(spans: Iterable[tuple[float, float]]) -> float:
    """Returns the length of the union of spans; traces may be nested."""
    total, reached = 0.0, float("-inf")
    for begin, end in sorted(spans):
        total += max(end - max(begin, reached), 0.0)
        reached = max(reached, end)
    return total


def interleave(functions: Mapping[str, Callable[[], Any]], rounds: int) -> Seconds:
    """Times each call, `{name: [rounds]}`, in the order A B C A B C …, after one warm-up call each.

    Args:
      functions: Functions to call; their results are blocked on.
      rounds: Number of timed calls of each.
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
