"""Scikit-learn's 1,797 digits of 8 × 8 pixels; available without network, for tests."""

import numpy as np

from gpnas.data._dataset import Decoded, Split, content_digest
from gpnas.data._fields import image_fields
from gpnas.data._split import TEST_PART, TEST_SEED, hold_out
from gpnas.data.image_files import Size, resize_image

_LEVELS = 16


def load_digits(size: Size | None) -> Decoded:
    """Returns the digits, split 80/20 into train and test by a fixed, unstratified permutation.

    Args:
      size: Requested height and width; None for 8 × 8.

    Returns:
      Images with one channel, 0 to 255 (17 levels).
    """
    from sklearn import datasets

    bunch = datasets.load_digits()
    images = np.rint(bunch.images * (255 / _LEVELS)).astype(np.uint8)[..., None]
    images = np.stack([resize_image(image, size) for image in images])
    labels = bunch.target.astype(np.int32)
    rows = hold_out(len(labels), TEST_PART, TEST_SEED)
    train, test = (Split(images[part], labels[part]) for part in rows)
    fields = image_fields(tuple(str(digit) for digit in range(10)))
    splits = {"train": train, "test": test}
    return Decoded(fields, splits, content_digest(fields, splits))
