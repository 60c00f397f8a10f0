"""Held-out test and validation sets, and statistics of the training inputs."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gpnas.data._dataset import Array, Decoded, Images, Split, row_blocks
from gpnas.data._fields import Fields
from gpnas.data._storage import new_array
from gpnas.errors import UserError

Index = npt.NDArray[np.intp]
Statistics = tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]

TEST_PART = 0.2
# Fixed, so that the test set does not depend on the seed of a run.
TEST_SEED = 0


def permutation(n: int, seed: int) -> Index:
    """Returns a permutation of 0 … n-1 that depends on its arguments only.

    It uses `RandomState`, whose stream NumPy has frozen, so that splits are equal in all versions.

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
    """Splits n rows at random in two parts, each in ascending order, for fast reads of memory maps.

    The held-out rows are the first of a permutation. With labels, the last row of each class in
    that permutation is skipped, so that every class keeps a row; if each class keeps a row anyway,
    labels have no effect.

    Args:
      n: Number of rows.
      fraction: Fraction to hold out, in (0, 1).
      seed: 0 to 2**32 - 1.
      labels: Integers, (n,): classes, each of which must keep a row.

    Returns:
      Rows kept and rows held out, intp.

    Raises:
      UserError: If either part would be empty, or a class would keep no row.
    """
    held = round(n * fraction)
    if not 0 < held < n:
        raise UserError(
            "data.validation",
            fraction,
            f"a fraction of {n} rows with at least one row in each part",
        )
    order = permutation(n, seed)
    free = np.ones(n, bool)
    if labels is not None:
        _, first = np.unique(np.asarray(labels)[order[::-1]], return_index=True)
        free[n - 1 - first] = False
    if held > free.sum():
        allowed = f"a fraction of {n} rows that keeps a row of each of {n - free.sum()} classes"
        raise UserError("data.validation", fraction, allowed)
    place = np.flatnonzero(free)[:held]
    return np.sort(np.delete(order, place)), np.sort(order[place])


def hold_out_end(n: int, fraction: float) -> tuple[slice, slice]:
    """Splits n sequences of a text into a beginning and an end.

    The sequence between them is dropped, since its last target is the first token of the end.

    Args:
      n: Number of sequences.
      fraction: Fraction to hold out, in (0, 1).

    Returns:
      Rows kept and rows held out, as slices, which select views.

    Raises:
      UserError: If either part would be empty.
    """
    held = round(n * fraction)
    if not 0 < held < n - 1:
        allowed = f"a fraction of {n} sequences with one or more in each part and one between them"
        allowed += "; a smaller data.length makes more of a text"
        raise UserError("data.validation", fraction, allowed)
    return slice(0, n - held - 1), slice(n - held, n)


def split_parts(
    decoded: Decoded, name: str, validation: float, seed: int, folder: Path
) -> dict[str, Split]:
    """Returns train, test and validation splits; missing ones are held out of the training set.

    Held-out parts are the end of the training set if targets are the next tokens, and random rows
    otherwise. Each row is copied at most once.

    Args:
      decoded: The data set.
      name: Name of the data set, for messages.
      validation: Fraction to hold out of the training set without the test set.
      seed: Seed of the validation part.
      folder: Folder of large copies, see `new_array`.

    Raises:
      UserError: If there are too few rows.
      OSError: If the disk has too little space for the copies.
    """
    parts = dict(decoded.splits)
    whole, rows = parts["train"], np.arange(len(parts["train"]))
    held: dict[str, Any] = {}
    if "test" not in parts:
        try:
            rows, held["test"] = _hold_out(decoded.fields, whole, rows, TEST_PART, TEST_SEED)
        except UserError as error:
            got = f"{name} with {len(whole)} example{'s' if len(whole) > 1 else ''}"
            allowed = "a test set, or enough examples to hold out a fifth"
            raise UserError("data.name", got, f"{allowed}: {error.allowed}") from error
    if "validation" not in parts:
        rows, held["validation"] = _hold_out(decoded.fields, whole, rows, validation, seed)
    if held:
        for part, index in {"train": rows, **held}.items():
            if decoded.fields.targets == "next":
                views = slice(int(index[0]), int(index[-1]) + 1)  # the rows are consecutive
                parts[part] = Split(whole.inputs[views], whole.targets[views])
            else:
                copies = (_rows(x, index, folder) for x in (whole.inputs, whole.targets))
                parts[part] = Split(*copies)
    return parts


def _rows(array: Array, index: Index, folder: Path) -> Array:
    """Copies rows of an array."""
    rows = new_array(folder, (len(index), *array.shape[1:]), array.dtype)
    return array.take(index, 0, rows, mode="clip")  # "raise" would copy once more


def _hold_out(
    fields: Fields, whole: Split, rows: Index, fraction: float, seed: int
) -> tuple[Index, Index]:
    """Splits rows of a split in the way that its kind of targets requires."""
    n = len(rows)
    if fields.targets == "next":
        kept, held = hold_out_end(n, fraction)
        return rows[kept], rows[held]
    labels = np.asarray(whole.targets)[rows] if fields.targets == "class" else None
    first, second = hold_out(n, fraction, seed, labels)
    return rows[first], rows[second]


def statistics(fields: Fields, inputs: Array) -> Statistics:
    """Returns the mean and standard deviation that standardize inputs, see `Dataset`."""
    if fields.inputs == "tokens":
        return np.zeros(0, np.float32), np.ones(0, np.float32)
    find = channel_statistics if fields.inputs == "image" else column_statistics
    mean, std = find(inputs)
    return mean, np.where(std > 0, std, np.float32(1))


def column_statistics(features: Array) -> Statistics:
    """Returns the mean and deviation of each column of (n, columns) float32, summed in float64."""
    total = np.zeros(features.shape[1])
    for rows in row_blocks(features):
        total += rows.sum(0, dtype=np.float64)
    mean = total / len(features)
    squares, varies = np.zeros_like(mean), np.zeros(mean.shape, bool)
    for rows in row_blocks(features):
        squares += np.square(rows - mean).sum(0)
        varies |= (rows != features[0]).any(0)
    squares[~varies] = 0  # exactly 0, regardless of the rounding of the mean
    return mean.astype(np.float32), np.sqrt(squares / len(features)).astype(np.float32)


def channel_statistics(images: Images) -> Statistics:
    """Returns the mean and standard deviation of each channel, from exact integer counts.

    Args:
      images: uint8, (N, H, W, C).

    Returns:
      Mean and standard deviation on the scale 0 to 1, float32, (C,) each.
    """
    channels = images.shape[-1]
    counts = np.zeros((channels, 256), np.int64)
    for rows in row_blocks(images):
        for channel in range(channels):
            counts[channel] += np.bincount(rows[..., channel].ravel(), minlength=256)
    levels = np.arange(256) / 255.0
    total = counts.sum(axis=1)
    mean = counts @ levels / total
    variance = np.einsum("cl,cl->c", counts, (levels - mean[:, None]) ** 2) / total
    return mean.astype(np.float32), np.sqrt(variance).astype(np.float32)
