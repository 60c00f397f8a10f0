"""The order of the training examples."""

import functools
from collections.abc import Callable

import numpy as np

Order = Callable[[int, int], np.ndarray]


def batch_order(examples: int, batch: int, seed: int) -> Order:
    """Returns the order of the training examples, shuffled per epoch: a function of seed and step.

    Args:
      examples: Number of training examples.
      batch: Examples per step; an incomplete batch at the end of an epoch is dropped.
      seed: Seed of the run.

    Returns:
      `(step, rows) → (rows, batch) int32`, indices of the examples of at most `rows` steps from
      `step` to the end of its epoch, padded with zeros.
    """
    per_epoch = examples // batch

    @functools.lru_cache(maxsize=2)  # the next epoch is prefetched at the end of one
    def shuffled(epoch: int) -> np.ndarray:
        drawn = np.random.default_rng((seed, epoch)).permutation(examples)[: per_epoch * batch]
        return drawn.astype(np.int32).reshape(per_epoch, batch)

    def rows(step: int, count: int) -> np.ndarray:
        epoch, at = divmod(step, per_epoch)
        found = shuffled(epoch)[at : at + count]
        return np.pad(found, ((0, count - len(found)), (0, 0)))

    return rows
