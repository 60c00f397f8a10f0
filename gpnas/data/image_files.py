"""Image files: supported formats, decoding, and resizing."""

import contextlib
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gpnas._files import PathLike
from gpnas._natural_order import natural_order
from gpnas.errors import UserError, explained

Size = tuple[int, int]
SUFFIXES = (
    ".png", ".jpg", ".jpeg", ".jfif", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm",
    ".pbm",
)  # fmt: skip
# Allowed Pillow readers, regardless of a file's name: some others start programs.
_READERS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
# Exceptions that Pillow is known to raise on invalid files.
_BROKEN = (
    OSError, SyntaxError, ValueError, EOFError, TypeError, LookupError, ArithmeticError,
    AttributeError, AssertionError, RuntimeError, MemoryError, struct.error, zlib.error,
)  # fmt: skip
_SIXTEEN = ("I;16", "I;16B", "I;16L", "I;16N")  # Pillow's modes of 16 bits of gray.
_LARGEST = 4096
_PHOTOMETRIC, _WHITE_IS_ZERO = 262, 0  # a TIFF tag, which Pillow applies to 8 bits only
_WIDE = ("I", "F")  # Pillow's modes of 32 bits: integers and floats of unknown range.


def is_image(path: PathLike) -> bool:
    """Returns whether a path is a file with the suffix of an image."""
    path = Path(path)
    return path.suffix.lower() in SUFFIXES and path.is_file()


def is_gray(path: PathLike) -> bool:
    """Returns whether an image is stored in grayscale, without alpha channel or palette.

    Raises:
      UserError: If it cannot be read or has 32 bits per channel.
    """
    from PIL import Image

    with _readable(path), Image.open(path, formats=_READERS) as image:
        mode, sixteen = image.mode, _is_sixteen(image)
    _check_depth(path, mode, sixteen)
    return sixteen or mode in ("L", "1")


def read(path: PathLike, channels: int, field: str = "data.name") -> npt.NDArray[np.uint8]:
    """Decodes an image as for training.

    The EXIF orientation is applied and an alpha channel dropped. Only the first of several frames
    or pages is read, and only the upper 8 of 16 bits per channel.

    Args:
      path: The file.
      channels: 1 (gray) or 3 (RGB).
      field: Argument that selected the file, for messages.

    Returns:
      uint8, (H, W, channels).

    Raises:
      UserError: If the image cannot be read or has 32 bits per channel.
    """
    from PIL import Image, ImageOps

    mode = "L" if channels == 1 else "RGB"
    # From a path, Pillow maps some TIFFs into memory, with sides that are already turned.
    with (
        _readable(path, field),
        open(path, "rb") as file,
        Image.open(file, formats=_READERS) as image,
    ):
        sixteen = _is_sixteen(image)
        _check_depth(path, image.mode, sixteen, field)
        turned = ImageOps.exif_transpose(image)
        if sixteen:  # `convert` would clip values above 255
            levels = (np.asarray(turned) >> 8).astype(np.uint8)
            inverted = getattr(image, "tag_v2", {}).get(_PHOTOMETRIC) == _WHITE_IS_ZERO
            turned = Image.fromarray(255 - levels if inverted else levels)
        pixels = np.asarray(turned.convert(mode))
    return pixels.reshape(*pixels.shape[:2], channels)


def parse_size(image_size: int | Sequence[int] | None) -> Size | None:
    """Converts the argument `image_size` to (height, width); None for the stored size.

    Raises:
      UserError: If it is not one or two integers from 1 to 4096.
    """
    if image_size is None:
        return None
    sides = tuple(image_size) if isinstance(image_size, tuple | list) else (image_size, image_size)
    if len(sides) != 2 or not all(
        isinstance(side, int) and not isinstance(side, bool) and 1 <= side <= _LARGEST
        for side in sides
    ):
        raise UserError(
            "data.image_size",
            image_size,
            f"one or two whole numbers from 1 to {_LARGEST}, or None (0 in a config)",
        )
    return sides[0], sides[1]


def resize_image(image: npt.NDArray[np.uint8], size: Size | None) -> npt.NDArray[np.uint8]:
    """Resamples an image bilinearly with anti-aliasing; does not keep the aspect ratio.

    Args:
      image: uint8, (H, W, 1 or 3).
      size: Requested height and width; None for the stored size.

    Returns:
      uint8, (height, width, 1 or 3); `image` itself if it has that size already.
    """
    if size is None or image.shape[:2] == size:
        return image
    from PIL import Image

    pixels = image[..., 0] if image.shape[-1] == 1 else image
    resized = Image.fromarray(pixels).resize((size[1], size[0]), Image.Resampling.BILINEAR)
    return np.asarray(resized).reshape(*size, image.shape[-1])


def name_order(path: PathLike) -> tuple[list, str]:
    """Returns a key that sorts paths by name, with numbers by value: 1, 2, 10."""
    name = Path(path).name
    return natural_order(name), name


def _is_sixteen(image: Any) -> bool:
    """Returns whether an image has 16-bit grayscale; PNG and PGM have no more, also in mode I."""
    return image.mode in _SIXTEEN or (image.mode == "I" and image.format in ("PNG", "PPM"))


def _check_depth(path: PathLike, mode: str, sixteen: bool, field: str = "data.name") -> None:
    if mode in _WIDE and not sixteen:
        allowed = f"an image with 8 or 16 bits per channel, not 32 (mode {mode})"
        raise UserError(field, str(path), allowed)


def _readable(path: PathLike, field: str = "data.name") -> contextlib.AbstractContextManager[None]:
    """Converts errors about a damaged image in a `with` block."""
    from PIL import Image

    allowed = f"a readable image: {', '.join(SUFFIXES)}"
    return explained(field, str(path), allowed, *_BROKEN, Image.DecompressionBombError)
