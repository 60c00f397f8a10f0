"""A user's own pictures: `train/<class>/*.png` and `test/<class>/*.jpg`."""

import dataclasses
import hashlib
import itertools
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from absl import logging

from gpnas.data import cache, storage
from gpnas.data.pixels import Size, resize
from gpnas.errors import UserError

_SUFFIXES = (".png", ".jpg", ".jpeg")
# What Pillow is known to raise on files that are not what they claim to be.
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, TypeError, struct.error, zlib.error)
_WIDE_MODES = ("I", "F")  # 16 and 32 bits a channel, in any byte order.

Rows = Sequence[tuple[Path, int]]


@dataclasses.dataclass(frozen=True)
class Listing:
    """The pictures of a folder, found but not opened.

    Attributes:
      root: The folder.
      class_names: Names of the folders in `train/`, sorted.
      train: Files and labels, by class, then by name.
      test: The same for `test/`.
    """

    root: Path
    class_names: tuple[str, ...]
    train: Rows
    test: Rows

    def fingerprint(self) -> str:
        """A cheap digest: classes, paths, sizes and times of modification."""
        paths = [path for path, _ in itertools.chain(self.train, self.test)]
        names = "\0".join(self.class_names).encode(errors="surrogateescape")
        return hashlib.sha256(names).hexdigest() + storage.fingerprint(paths, self.root)


def scan(root: Path) -> Listing:
    """Lists the pictures of a folder.

    Args:
      root: A folder with `train/<class>/` and `test/<class>/`, in which pictures end in .png, .jpg
        or .jpeg. Hidden files are ignored, others are too, with a warning.

    Returns:
      The listing.

    Raises:
      UserError: `train` or `test` is missing or empty, there are fewer than two classes, a class of
        `train` has no pictures, or one of `test` is not in `train`.
    """
    for name in ("train", "test"):
        if not (root / name).is_dir():
            raise UserError("data.name", f"folder:{root}", f"a folder that holds a folder {name}/")
    class_names = tuple(path.name for path in _folders(root / "train"))
    if len(class_names) < 2:
        raise UserError(
            "data.name",
            f"folder:{root}",
            f"at least two class folders in train/, not {len(class_names)}",
        )
    for path in _folders(root / "test"):
        if path.name not in class_names:
            raise UserError("data.name", str(path), f"a class of train/: {', '.join(class_names)}")
    train, test = ([*_rows(root / name, class_names)] for name in ("train", "test"))
    labels = {label for _, label in train}
    for label, name in enumerate(class_names):
        if label not in labels:
            raise UserError("data.name", str(root / "train" / name), "a folder with pictures in it")
    if not test:
        raise UserError("data.name", str(root / "test"), "a folder with pictures of the classes")
    return Listing(root, class_names, train, test)


def _folders(folder: Path) -> list[Path]:
    """Folders in a folder, sorted, without hidden ones."""
    return sorted(path for path in folder.iterdir() if path.is_dir() and path.name[0] != ".")


def _rows(folder: Path, class_names: Sequence[str]) -> Rows:
    """Pictures and labels in `folder/<class>/`."""
    rows: list[tuple[Path, int]] = []
    for label, name in enumerate(class_names):
        if not (folder / name).is_dir():
            continue
        visible = sorted(path for path in (folder / name).iterdir() if path.name[0] != ".")
        pictures = [path for path in visible if path.suffix.lower() in _SUFFIXES and path.is_file()]
        if len(pictures) < len(visible):
            count = len(visible) - len(pictures)
            logging.warning("%s: %d entries are not pictures, ignored", folder / name, count)
        rows.extend((path, label) for path in pictures)
    return rows


def decode(listing: Listing, folder: Path, size: Size | None) -> tuple[str, ...]:
    """Decodes the pictures into a cache entry.

    Grayscale if every picture is; otherwise RGB. A camera's note on rotation is followed, an alpha
    channel dropped.

    Args:
      listing: The pictures.
      folder: The cache entry to write.
      size: Height and width wanted; None if all pictures have the same anyway.

    Returns:
      The names of the classes.

    Raises:
      UserError: A picture is broken or has more than 8 bits a channel (the message names it), or
        they differ in size and none is given.
    """
    every = [path for path, _ in itertools.chain(listing.train, listing.test)]
    modes = {_mode(path) for path in every}
    mode = "L" if modes <= {"L", "1"} else "RGB"
    if size is None:
        height, width, _ = _read(every[0], mode).shape
        size = (height, width)
        wanted = f"one size for all ({height} x {width} as {every[0].name}), or data.image_size"
    else:
        wanted = None
    for name, rows in (("train", listing.train), ("test", listing.test)):
        shape = (len(rows), *size, len(mode))
        path = cache.array_path(folder, f"{name}_images")
        images = np.lib.format.open_memmap(path, "w+", np.uint8, shape)
        for row, (file, _) in enumerate(rows):
            picture = _read(file, mode)
            if wanted and picture.shape[:2] != size:
                got = f"{file}: {picture.shape[0]} x {picture.shape[1]}"
                raise UserError("data.image_size", got, wanted)
            images[row] = resize(picture, size)
        images.flush()
        cache.save_labels(folder, name, [label for _, label in rows])
    return listing.class_names


def _mode(path: Path) -> str:
    """Pillow's mode of a picture, from its header.

    Raises:
      UserError: It cannot be read or is too deep.
    """
    from PIL import Image

    try:
        with Image.open(path) as picture:
            mode = picture.mode
    except (*_BROKEN, Image.DecompressionBombError) as error:
        raise _broken(path, error) from error
    if mode.split(";")[0] in _WIDE_MODES:
        raise UserError("data.name", str(path), f"a picture of 8 bits a channel, not mode {mode}")
    return mode


def _read(path: Path, mode: str) -> npt.NDArray[np.uint8]:
    """Decodes a picture to uint8, (H, W, 1 or 3).

    Raises:
      UserError: It is broken.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as picture:
            pixels = np.asarray(ImageOps.exif_transpose(picture).convert(mode))
    except (*_BROKEN, Image.DecompressionBombError) as error:
        raise _broken(path, error) from error
    return pixels.reshape(*pixels.shape[:2], len(mode))


def _broken(path: Path, error: Exception) -> UserError:
    """The message about a broken picture."""
    text = " ".join(str(error).split())
    return UserError("data.name", str(path), f"a readable picture ({type(error).__name__}: {text})")
