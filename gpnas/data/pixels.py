"""Picture sizes: what a user may ask for, and how a picture gets there."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from gpnas.errors import UserError

Size = tuple[int, int]
_LARGEST = 4096


def parse_size(image_size: int | Sequence[int] | None) -> Size | None:
    """Turns the argument `image_size` into (height, width), None for as it is.

    Raises:
      UserError: It is something else than one or two whole numbers from 1 to 4096.
    """
    if image_size is None:
        return None
    sides = tuple(image_size) if isinstance(image_size, tuple | list) else (image_size, image_size)
    if len(sides) != 2 or not all(
        isinstance(side, int) and not isinstance(side, bool) and 1 <= side <= _LARGEST
        for side in sides
    ):
        raise UserError(
            "data.image_size", image_size, f"one or two whole numbers from 1 to {_LARGEST}, or None"
        )
    return sides[0], sides[1]


def resize(image: npt.NDArray[np.uint8], size: Size | None) -> npt.NDArray[np.uint8]:
    """Resamples a picture (bilinear, with the wide support that avoids aliasing; aspect not kept).

    Args:
      image: uint8, (H, W, 1 or 3).
      size: Height and width wanted; None for as it is.

    Returns:
      uint8, (height, width, 1 or 3); `image` itself if it has that size already.
    """
    if size is None or image.shape[:2] == size:
        return image
    from PIL import Image

    pixels = image[..., 0] if image.shape[-1] == 1 else image
    resized = Image.fromarray(pixels).resize((size[1], size[0]), Image.Resampling.BILINEAR)
    return np.asarray(resized).reshape(*size, image.shape[-1])
