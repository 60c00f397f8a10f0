"""Data types: `Decoded` (official splits), `Split`, and `Dataset` (ready for training)."""

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from gpnas.data._fields import INPUTS, TARGETS, Fields
from gpnas.errors import UserError

#: Any NumPy array.
Array = npt.NDArray[Any]
#: (n, height, width, channels) uint8.
Images = npt.NDArray[np.uint8]

# Rows hashed or counted at once; bounds memory for data sets of any size.
_ROWS = 4096


@dataclasses.dataclass(frozen=True)
class Split:
    """Examples as arrays with one row per example, read-only and possibly memory-mapped.

    Attributes:
      inputs: (n, …), type and shape as described by `Fields.inputs`.
      targets: (n, …), type and shape as described by `Fields.targets`.
    """

    inputs: Array
    targets: Array

    def __len__(self) -> int:
        return len(self.targets)


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A data set ready for training.

    Attributes:
      name: Name as passed to `load`.
      train: The official training set without the held-out parts.
      validation: The data set's own validation set, or else the held-out part of the official
        training set; used for every choice during training.
      test: The official test set, or else a fixed part of the training set; used for the reported
        result only.
      fields: Meaning of inputs and targets.
      sha256: Digest of the official splits, `content_digest`. It depends on `image_size`, but not
        on the source, `validation` or `seed`.
      mean, std: float32, mean and standard deviation over `train` (1 where the deviation is 0):
        (channels,) for images, on the scale 0 to 1; (columns,) for features; (0,) for tokens.
    """

    name: str
    train: Split
    validation: Split
    test: Split
    fields: Fields
    sha256: str
    mean: npt.NDArray[np.float32]
    std: npt.NDArray[np.float32]

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input: (height, width, channels), (columns,) or (length,)."""
        return self.train.inputs.shape[1:]

    @property
    def num_classes(self) -> int:
        """Number of network outputs, `fields.outputs`, under the name that networks use."""
        return self.fields.outputs

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the outputs, `fields.names`."""
        return self.fields.names


def subset(split: Split, count: int) -> Split:
    """Selects examples at equal distances: in order, since the rows may be sorted by class.

    Args:
      split: The examples, n of them.
      count: Number of examples to select; all if there are fewer.

    Returns:
      `min(count, n)` examples.
    """
    count = min(count, len(split))
    rows = np.arange(count) * len(split) // max(1, count)
    return Split(split.inputs[rows], split.targets[rows])


def standardize(inputs: Any, data: Dataset) -> Any:
    """Converts inputs to float32 of zero mean and unit deviation per channel or feature.

    Args:
      inputs: (batch, …), NumPy or JAX: images, uint8, or features, float32. Tokens are returned
        unchanged.
      data: The data set; the statistics are those of its training inputs.

    Returns:
      float32, of the same shape and array library.
    """
    if data.fields.inputs == "tokens":
        return inputs
    values = inputs.astype("float32")
    values = values / 255 if data.fields.inputs == "image" else values
    return (values - data.mean) / data.std


def require_kind(
    data: Dataset, *, inputs: tuple[str, ...] = (), targets: tuple[str, ...] = ()
) -> None:
    """Checks that a data set is of a kind that the caller supports.

    Args:
      data: The data set.
      inputs: Supported kinds of inputs; empty: any.
      targets: Supported kinds of targets; empty: any.

    Raises:
      UserError: If its inputs or targets are of another kind.
    """
    f = data.fields
    if f.inputs not in (inputs or INPUTS) or f.targets not in (targets or TARGETS):
        wanted = {"inputs": inputs, "targets": targets}
        allowed = "; ".join(
            f"{part}: {' or '.join(kinds)}" for part, kinds in wanted.items() if kinds
        )
        raise UserError(
            "data.name", f"{data.name} (inputs: {f.inputs}; targets: {f.targets})", allowed
        )


@dataclasses.dataclass(frozen=True)
class Decoded:
    """A whole data set in its official order, before any split is held out.

    Attributes:
      fields: Meaning of inputs and targets.
      splits: The official splits: `train`, and `test` and `validation` if they exist.
      sha256: `content_digest` of the splits.
    """

    fields: Fields
    splits: Mapping[str, Split]
    sha256: str


def content_digest(fields: Fields, splits: Mapping[str, Split]) -> str:
    """Returns a digest of the content of a data set, equal for every source and storage.

    Args:
      fields: Meaning of inputs and targets.
      splits: Train, test, validation, as far as they exist, in their official order.

    Returns:
      Hexadecimal SHA-256 of the little-endian bytes of inputs and targets of each split, in C
      order. Except for images with classes, fields and shapes as JSON are hashed first.
    """
    digest = hashlib.sha256()
    if (fields.inputs, fields.targets) != ("image", "class"):
        shapes = {name: [x.inputs.shape, x.targets.shape] for name, x in splits.items()}
        digest.update(json.dumps([fields._asdict(), shapes]).encode())
    for split in splits.values():
        for array in (split.inputs, split.targets):
            little = array.dtype.newbyteorder("<")
            for rows in row_blocks(array):
                digest.update(np.ascontiguousarray(rows, little).data)
    return digest.hexdigest()


def row_blocks(array: Array) -> Iterable[Array]:
    """Yields the rows of an array (n, …) in order, in blocks of bounded size."""
    for start in range(0, len(array), _ROWS):
        yield array[start : start + _ROWS]
