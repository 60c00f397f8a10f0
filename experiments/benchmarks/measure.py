"""What a measurement is; time is taken as `gpnas.timing` does."""

import contextlib
import pathlib
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
from ml_collections import ConfigDict

from gpnas.errors import UserError
from gpnas.timing import Seconds, interleave, ratio, summary

__all__ = [
    "Compiling", "Measurement", "Missing", "Options", "Seconds", "interleave", "ratio", "summary",
]  # fmt: skip
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
