"""Picture files: which are read, how a file becomes an array, and how that is resized."""

import re
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gpnas.errors import UserError, brief

Size = tuple[int, int]
SUFFIXES = (
    ".png", ".jpg", ".jpeg", ".jfif", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm",
    ".pbm",
)  # fmt: skip
# Pillow's readers that may be used, whatever a file's name: some of the others start programs.
_READERS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
# What Pillow is known to raise on files that are not what they claim to be.
_BROKEN = (
    OSError, SyntaxError, ValueError, EOFError, TypeError, LookupError, ArithmeticError,
    AttributeError, AssertionError, RuntimeError, MemoryError, struct.error, zlib.error,
)  # fmt: skip
_SIXTEEN = ("I;16", "I;16B", "I;16L", "I;16N")  # Pillow's modes of 16 bits of gray.
_LARGEST = 4096
_WIDE = ("I", "F")  # Those of 32 bits: integers and floats, whose range is not known.


def is_picture(path: Path) -> bool:
    """Whether a path is a file that ends as a picture does."""
    return path.suffix.lower() in SUFFIXES and path.is_file()


def is_gray(path: Path) -> bool:
    """Whether a picture is stored in gray, without an alpha channel or a palette.

    Raises:
      UserError: It cannot be read or has 32 bits a channel.
    """
    from PIL import Image

    try:
        with Image.open(path, formats=_READERS) as picture:
            mode, sixteen = picture.mode, _is_sixteen(picture)
    except (*_BROKEN, Image.DecompressionBombError) as error:
        raise _broken(path, error) from error
    _check_depth(path, mode, sixteen)
    return sixteen or mode in ("L", "1")


def read(path: Path, channels: int, field: str = "data.name") -> npt.NDArray[np.uint8]:
    """Decodes a picture as training does.

    A camera's note on rotation is followed, an alpha channel dropped; of several frames or pages
    the first is read, of 16 bits a channel the upper 8.

    Args:
      path: The file.
      channels: 1 (gray) or 3 (RGB).
      field: What chose the file, for messages.

    Returns:
      uint8, (H, W, channels).

    Raises:
      UserError: It cannot be read or has 32 bits a channel.
    """
    from PIL import Image, ImageOps

    mode = "L" if channels == 1 else "RGB"
    try:
        with Image.open(path, formats=_READERS) as picture:
            sixteen = _is_sixteen(picture)
            _check_depth(path, picture.mode, sixteen, field)
            turned = ImageOps.exif_transpose(picture)
            if sixteen:  # `convert` would make white of all that is brighter than 255
                turned = Image.fromarray((np.asarray(turned) >> 8).astype(np.uint8))
            pixels = np.asarray(turned.convert(mode))
    except UserError:
        raise
    except (*_BROKEN, Image.DecompressionBombError) as error:
        raise _broken(path, error, field) from error
    return pixels.reshape(*pixels.shape[:2], channels)


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


def resize_picture(image: npt.NDArray[np.uint8], size: Size | None) -> npt.NDArray[np.uint8]:
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


def natural_order(path: Path) -> tuple[list[str | int], str]:
    """Key that sorts paths by name, numbers in it by their value: 1, 2, 10."""
    parts = re.split("([0-9]+)", path.name)
    return [int(part) if part.isascii() and part.isdigit() else part for part in parts], path.name


def _is_sixteen(picture: Any) -> bool:
    """Whether a picture has 16 bits of gray; PNG and PGM have no more, also in mode I."""
    return picture.mode in _SIXTEEN or (picture.mode == "I" and picture.format in ("PNG", "PPM"))


def _check_depth(path: Path, mode: str, sixteen: bool, field: str = "data.name") -> None:
    if mode in _WIDE and not sixteen:
        allowed = f"a picture of 8 or 16 bits a channel, not of 32 (mode {mode})"
        raise UserError(field, str(path), allowed)


def _broken(path: Path, error: Exception, field: str = "data.name") -> UserError:
    """The message about a broken picture."""
    allowed = f"a readable picture: {', '.join(SUFFIXES)} ({brief(error)})"
    return UserError(field, str(path), allowed)
