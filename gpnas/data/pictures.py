"""Picture files: which are read, and how a file becomes an array."""

import struct
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gpnas.errors import UserError

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
_WIDE_MODES = ("I", "F")  # 16 and 32 bits a channel, in any byte order.


def is_picture(path: Path) -> bool:
    """Whether a path is a file that ends as a picture does."""
    return path.suffix.lower() in SUFFIXES and path.is_file()


def is_gray(path: Path) -> bool:
    """Whether a picture is stored in gray, without an alpha channel or a palette.

    Raises:
      UserError: It cannot be read or has more than 8 bits a channel.
    """
    from PIL import Image

    try:
        with Image.open(path, formats=_READERS) as picture:
            mode = picture.mode
    except (*_BROKEN, Image.DecompressionBombError) as error:
        raise _broken(path, error) from error
    _check_depth(path, mode)
    return mode in ("L", "1")


def read(path: Path, channels: int, field: str = "data.name") -> npt.NDArray[np.uint8]:
    """Decodes a picture as training does.

    A camera's note on rotation is followed, an alpha channel dropped; of several frames or pages
    the first is read.

    Args:
      path: The file.
      channels: 1 (gray) or 3 (RGB).
      field: What chose the file, for messages.

    Returns:
      uint8, (H, W, channels).

    Raises:
      UserError: It cannot be read or has more than 8 bits a channel.
    """
    from PIL import Image, ImageOps

    mode = "L" if channels == 1 else "RGB"
    try:
        with Image.open(path, formats=_READERS) as picture:
            _check_depth(path, picture.mode, field)
            pixels = np.asarray(ImageOps.exif_transpose(picture).convert(mode))
    except UserError:
        raise
    except (*_BROKEN, Image.DecompressionBombError) as error:
        raise _broken(path, error, field) from error
    return pixels.reshape(*pixels.shape[:2], channels)


def _check_depth(path: Path, mode: str, field: str = "data.name") -> None:
    if mode.split(";")[0] in _WIDE_MODES:
        raise UserError(field, str(path), f"a picture of 8 bits a channel, not mode {mode}")


def _broken(path: Path, error: Exception, field: str = "data.name") -> UserError:
    """The message about a broken picture."""
    text = " ".join(str(error).split())
    allowed = f"a readable picture: {', '.join(SUFFIXES)} ({type(error).__name__}: {text})"
    return UserError(field, str(path), allowed)
