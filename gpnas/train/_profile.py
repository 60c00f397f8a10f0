"""A trace of some steps of a run, by JAX's profiler, for TensorBoard or Perfetto."""

import contextlib
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax

from gpnas.train import distributed


@contextlib.contextmanager
def profiler(steps: Sequence[int], folder: pathlib.Path) -> Iterator[Callable[[int, Any], None]]:
    """Yields `(step, state) → None`, called between chunks, which starts and ends the trace.

    Only process 0 writes a trace.

    Args:
      steps: `(start, stop)`; empty for no trace.
      folder: Folder of the trace.
    """
    running: list[bool] = []

    def end() -> None:
        running.clear()
        jax.profiler.stop_trace()

    def trace(step: int, state: Any) -> None:
        inside = bool(steps) and steps[0] <= step < steps[1] and distributed.is_first()
        if inside and not running:
            jax.block_until_ready(state)
            jax.profiler.start_trace(str(folder))
            running.append(True)
        elif running and not inside:
            jax.block_until_ready(state)
            end()

    try:
        yield trace
    finally:
        if running:
            end()
