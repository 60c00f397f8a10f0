"""The order in which a run sees its images."""

import functools
from collections.abc import Callable

import numpy as np

Order = Callable[[int, int], np.ndarray]


def batch_order(images: int, batch: int, seed: int) -> Order:
    """The order of the training images: a new shuffle each epoch, by seed and step alone.

    Args:
      images: How many there are.
      batch: Images per step; what is left over at the end of an epoch is left out of it.
      seed: The run's.

    Returns:
      `(step, rows) → (rows, batch) int32`, images of the steps from `step` to the end of its epoch,
      at most `rows` of them, and zeros after.
    """
    per_epoch = images // batch

    @functools.lru_cache(maxsize=1)
    def shuffled(epoch: int) -> np.ndarray:
        drawn = np.random.default_rng((seed, epoch)).permutation(images)[: per_epoch * batch]
        return drawn.astype(np.int32).reshape(per_epoch, batch)

    def rows(step: int, count: int) -> np.ndarray:
        epoch, at = divmod(step, per_epoch)
        found = shuffled(epoch)[at : at + count]
        return np.pad(found, ((0, count - len(found)), (0, 0)))

    return rows
