"""The shapes in which data travel: `Split`, `Dataset`, and `Decoded` between the two."""

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from gpnas.data._fields import INPUTS, TARGETS, Fields
from gpnas.errors import UserError

Array = npt.NDArray[Any]
Images = npt.NDArray[np.uint8]

# Rows hashed or counted at once: bounds memory, whatever the size of the set.
_ROWS = 4096


@dataclasses.dataclass(frozen=True)
class Split:
    """Examples, row by row. Arrays are read-only and may be memory maps.

    Attributes:
      inputs: (n, …), of the type and shape that `Fields.inputs` says.
      targets: (n, …), of the type and shape that `Fields.targets` says.
    """

    inputs: Array
    targets: Array

    def __len__(self) -> int:
        return len(self.targets)


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A data set ready for training.

    Attributes:
      name: The name as given to `load`.
      train: The official train set less the held-out parts.
      validation: The data set's own validation set, else the held-out part of the official train
        set: for every choice made on the way.
      test: The official test set, else a fixed part of the train set: for the number reported at
        the end.
      fields: What inputs and targets are.
      sha256: Digest of the official splits, `content_digest`. It does not depend on the place they
        came from, nor on `validation` and `seed`; it does on `image_size`.
      mean, std: float32, mean and standard deviation over `train`, 1 where that is 0: of each
        channel of images on the scale 0 to 1, (channels,); of each feature, (columns,); (0,) of
        tokens.
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
        """Shape of every input: (height, width, channels), (columns,) or (length,)."""
        return self.train.inputs.shape[1:]

    @property
    def num_classes(self) -> int:
        """Outputs of a network, `fields.outputs`, by the name that networks have for them."""
        return self.fields.outputs

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the outputs, `fields.names`."""
        return self.fields.names


def standardize(inputs: Any, data: Dataset) -> Any:
    """Converts inputs to float32 of zero mean and unit deviation per channel or feature.

    Args:
      inputs: (batch, …), of NumPy or JAX: images, uint8, or features, float32. Tokens are returned
        unchanged.
      data: The data set, whose statistics are those of its training inputs.

    Returns:
      float32, of the same shape and library.
    """
    if data.fields.inputs == "tokens":
        return inputs
    values = inputs.astype("float32")
    values = values / 255 if data.fields.inputs == "image" else values
    return (values - data.mean) / data.std


def require_kind(
    data: Dataset, *, inputs: tuple[str, ...] = (), targets: tuple[str, ...] = ()
) -> None:
    """Makes sure that a data set is of a kind that the caller can use.

    Args:
      data: The data set.
      inputs: Kinds of inputs that will do; empty: any.
      targets: Kinds of targets that will do; empty: any.

    Raises:
      UserError: Its inputs or targets are of another kind.
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
    """A whole data set in its official order, before anything is held out.

    Attributes:
      fields: What inputs and targets are.
      splits: The official splits: `train`; `test` and `validation`, if there are such.
      sha256: `content_digest` of the splits.
    """

    fields: Fields
    splits: Mapping[str, Split]
    sha256: str


def content_digest(fields: Fields, splits: Mapping[str, Split]) -> str:
    """Digest of what a data set holds, the same for every source and storage.

    Args:
      fields: What inputs and targets are.
      splits: Train, test, validation, as far as there are such, in their official order.

    Returns:
      SHA-256 in hexadecimal over, for each split, the little-endian bytes of inputs and targets, in
      C order; before them, except for images with classes, fields and shapes as JSON.
    """
    digest = hashlib.sha256()
    if (fields.inputs, fields.targets) != ("image", "class"):
        shapes = {name: [x.inputs.shape, x.targets.shape] for name, x in splits.items()}
        digest.update(json.dumps([fields._asdict(), shapes]).encode())
    for split in splits.values():
        for array in (split.inputs, split.targets):
            little = array.dtype.newbyteorder("<")
            for rows in blocks(array):
                digest.update(np.ascontiguousarray(rows, little).data)
    return digest.hexdigest()


def blocks(array: Array) -> Iterable[Array]:
    """Yields the rows of an array (n, …) in order, a bounded number at a time."""
    for start in range(0, len(array), _ROWS):
        yield array[start : start + _ROWS]
