"""Values of schedules at the steps of a run, of which there may be 2³¹."""

import functools
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np

BLOCK = 2**20  # steps whose values are in memory at once

#: `(start, stop) → (first step, values)` of consecutive parts of the steps from start to stop.
Between = Callable[[int, int], Iterator[tuple[int, np.ndarray]]]


def in_blocks(values: Callable[[jax.Array], jax.Array], total_steps: int) -> Between:
    """Evaluates a schedule at the steps of a run block by block; keeps the last block.

    Args:
      values: `(steps,) int32 → (steps,)`, the schedule under `vmap`.
      total_steps: Length of the run.
    """

    @functools.lru_cache(maxsize=1)
    def block(first: int) -> np.ndarray:
        return np.asarray(values(jnp.arange(first, min(first + BLOCK, total_steps))))

    def between(start: int, stop: int) -> Iterator[tuple[int, np.ndarray]]:
        while start < min(stop, total_steps):
            first = start // BLOCK * BLOCK
            yield start, block(first)[start - first : stop - first]
            start = first + BLOCK

    return between
