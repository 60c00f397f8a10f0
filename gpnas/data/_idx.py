"""The idx format of MNIST and similar data sets: a header with the shape, then the bytes."""

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gpnas.errors import UserError, explained

_UINT8 = 0x08


def header(shape: tuple[int, ...]) -> bytes:
    """Returns the idx header of a uint8 array: two zero bytes, type, rank, big-endian sizes."""
    return struct.pack(f">HBB{len(shape)}I", 0, _UINT8, len(shape), *shape)


def read_idx(path: Path, shape: tuple[int, ...]) -> tuple[npt.NDArray[np.uint8], bytes]:
    """Reads an idx file, gzip-compressed or not, that must contain a uint8 array of this shape.

    It decompresses at most the expected number of bytes.

    Args:
      path: The file; compressed if its name ends in `.gz`.
      shape: Required shape.

    Returns:
      The array, uint8, read-only, and the complete uncompressed content.

    Raises:
      UserError: If the file cannot be read or has other content.
    """
    start = header(shape)
    size = len(start) + math.prod(shape)
    broken, opened = (OSError, EOFError, zlib.error), gzip.open if path.suffix == ".gz" else open
    readable = explained("data.raw_dir", str(path), "a readable idx file", *broken)
    with readable, opened(path, "rb") as file:
        content = file.read(size + 1)
    if len(content) != size or not content.startswith(start):
        raise UserError("data.raw_dir", str(path), f"an idx file of uint8 of shape {shape}")
    return np.frombuffer(content, np.uint8, offset=len(start)).reshape(shape), content
