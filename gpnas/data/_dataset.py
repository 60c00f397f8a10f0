"""The shapes in which data travel: `Split`, `Dataset`, and `Decoded` between the two."""

import dataclasses
import hashlib
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

Images = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int32]

# Rows hashed or counted at once: bounds memory, whatever the size of the set.
_ROWS = 4096


@dataclasses.dataclass(frozen=True)
class Split:
    """Pictures and their classes, row by row. Arrays are read-only and may be memory maps.

    Attributes:
      images: uint8, (N, H, W, C), 0 to 255, C is 1 or 3.
      labels: int32, (N,), 0 to num_classes - 1.
    """

    images: Images
    labels: Labels

    def __len__(self) -> int:
        return len(self.labels)


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A data set ready for training.

    Attributes:
      name: As it was asked for.
      train: The official train set less the held-out part.
      validation: The data set's own validation set, else the held-out part of the official train
        set: for every choice made on the way.
      test: The official test set: for the number reported at the end.
      num_classes: Number of classes.
      class_names: Their names, by label.
      sha256: Digest of the official train and test sets, and of the validation set if the data set
        has one, `content_digest`. It does not depend on the place they came from, nor on
        `validation` and `seed`; it does on `image_size`.
      mean: float32, (C,), mean of each channel over `train`, on the scale 0 to 1.
      std: float32, (C,), standard deviation of each channel over `train`, on the scale 0 to 1.
    """

    name: str
    train: Split
    validation: Split
    test: Split
    num_classes: int
    class_names: tuple[str, ...]
    sha256: str
    mean: npt.NDArray[np.float32]
    std: npt.NDArray[np.float32]

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width, channels of every picture."""
        height, width, channels = self.train.images.shape[1:]
        return height, width, channels


def standardize(images: Any, data: Dataset) -> Any:
    """Converts uint8 images to float32 of zero mean and unit deviation per channel.

    Args:
      images: uint8, (batch, height, width, channels), of NumPy or JAX.
      data: The data set, whose statistics are those of its training images.

    Returns:
      float32, of the same shape and library.
    """
    return (images.astype("float32") / 255 - data.mean) / data.std


@dataclasses.dataclass(frozen=True)
class Decoded:
    """A whole data set in its official order, before anything is held out.

    Attributes:
      train: The official train set.
      test: The official test set.
      class_names: By label.
      sha256: `content_digest` of the splits.
      validation: The data set's own validation set, if it has one.
    """

    train: Split
    test: Split
    class_names: tuple[str, ...]
    sha256: str
    validation: Split | None = None


def content_digest(*splits: Split) -> str:
    """Digest of what a data set holds, the same for every source and storage.

    Args:
      *splits: Train, test, and validation if there is one, in their official order.

    Returns:
      SHA-256 in hexadecimal over the bytes of, for each split: images (uint8, C order), labels
      (little-endian int32).
    """
    digest = hashlib.sha256()
    for split in splits:
        for rows in blocks(split.images):
            digest.update(np.ascontiguousarray(rows).data)
        digest.update(np.ascontiguousarray(split.labels, dtype="<i4").data)
    return digest.hexdigest()


def blocks(images: Images) -> Iterable[Images]:
    """Yields the rows of `images` (N, ...) in order, a bounded number at a time."""
    for start in range(0, len(images), _ROWS):
        yield images[start : start + _ROWS]
