"""Holding out a validation set, and the channel statistics of what remains."""

import numpy as np
import numpy.typing as npt

from gpnas.data._dataset import Images, blocks
from gpnas.errors import UserError

Index = npt.NDArray[np.intp]


def permutation(n: int, seed: int) -> Index:
    """A permutation of 0 … n-1 that is a function of its arguments only.

    `RandomState` because NumPy has frozen its stream: the same split on every version, for good.

    Args:
      n: Length.
      seed: 0 to 2**32 - 1.

    Returns:
      intp, (n,).
    """
    return np.random.RandomState(seed).permutation(n).astype(np.intp)


def hold_out(
    n: int, fraction: float, seed: int, labels: npt.NDArray[np.integer] | None = None
) -> tuple[Index, Index]:
    """Splits n rows at random in two, both in ascending order (kind to memory maps).

    The held-out rows are the first ones of a permutation. With labels, the last row of each class
    in that permutation is passed over, so that every class keeps a row; where no class would have
    lost its rows, the labels change nothing.

    Args:
      n: Number of rows.
      fraction: Part to hold out, in (0, 1).
      seed: 0 to 2**32 - 1.
      labels: Integers, (n,): classes that must keep a row each.

    Returns:
      Rows kept and rows held out, intp.

    Raises:
      UserError: Either part would be empty, or a class would keep no row.
    """
    held = round(n * fraction)
    if not 0 < held < n:
        raise UserError(
            "data.validation",
            fraction,
            f"a fraction of {n} rows that leaves both parts at least one",
        )
    order = permutation(n, seed)
    free = np.ones(n, bool)
    if labels is not None:
        _, first = np.unique(np.asarray(labels)[order[::-1]], return_index=True)
        free[n - 1 - first] = False
    if held > free.sum():
        allowed = f"a fraction of {n} rows that leaves each of {n - free.sum()} classes one or more"
        raise UserError("data.validation", fraction, allowed)
    place = np.flatnonzero(free)[:held]
    return np.sort(np.delete(order, place)), np.sort(order[place])


def channel_statistics(images: Images) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Mean and standard deviation of each channel, from exact integer counts.

    Args:
      images: uint8, (N, H, W, C).

    Returns:
      Mean and standard deviation on the scale 0 to 1, float32, (C,) each.
    """
    channels = images.shape[-1]
    counts = np.zeros((channels, 256), np.int64)
    for rows in blocks(images):
        for channel in range(channels):
            counts[channel] += np.bincount(rows[..., channel].ravel(), minlength=256)
    levels = np.arange(256) / 255.0
    total = counts.sum(axis=1)
    mean = counts @ levels / total
    variance = np.einsum("cl,cl->c", counts, (levels - mean[:, None]) ** 2) / total
    return mean.astype(np.float32), np.sqrt(variance).astype(np.float32)
