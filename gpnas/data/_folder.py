"""Image folders: `train/<class>/*.png` and `test/<class>/*.jpg`."""

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from absl import logging

from gpnas.data import _cache, _storage
from gpnas.data._fields import Fields, image_fields
from gpnas.data._user_files import VALIDATION
from gpnas.data.image_files import (
    SUFFIXES,
    Size,
    is_gray,
    is_image,
    name_order,
    read,
    resize_image,
)
from gpnas.errors import UserError

_ENDINGS = ", ".join(SUFFIXES)

Rows = Sequence[tuple[Path, int]]


@dataclasses.dataclass(frozen=True)
class Listing:
    """The images of a folder, listed but not opened.

    Attributes:
      root: The folder.
      class_names: Names of the folders in `train/`, in natural order.
      splits: Files and labels of `train`, `test`, and `validation` if that folder exists; sorted by
        class, then by name.
    """

    root: Path
    class_names: tuple[str, ...]
    splits: Mapping[str, Rows]

    @property
    def paths(self) -> list[Path]:
        """All images, split by split."""
        return [path for rows in self.splits.values() for path, _ in rows]

    def fingerprint(self) -> str:
        """Returns a cheap digest of classes, paths, sizes and modification times."""
        names = "\0".join(self.class_names).encode(errors="surrogateescape")
        return hashlib.sha256(names).hexdigest() + _storage.fingerprint(self.paths, self.root)


def scan_folder(root: Path) -> Listing:
    """Lists the images of a folder.

    Args:
      root: A folder with `train/<class>/` and `test/<class>/`, and optionally `val/<class>/` (or
        `valid`, `validation`). Image files end in one of `image_files.SUFFIXES`. Other files are
        ignored, with a warning unless they are hidden.

    Returns:
      The listing.

    Raises:
      UserError: If `train` or `test` is missing or empty, if there are fewer than two classes, if a
        class of `train` has no images, if a class of another split is not in `train`, or if there
        are two validation folders.
    """
    for name in ("train", "test"):
        if not (root / name).is_dir():
            raise UserError("data.name", f"folder:{root}", f"a folder with a folder {name}/")
    held = [name for name in VALIDATION if (root / name).is_dir()]
    if len(held) > 1:
        allowed = f"a folder with one of {', '.join(f'{name}/' for name in held)}"
        raise UserError("data.name", f"folder:{root}", allowed)
    class_names = tuple(path.name for path in _folders(root / "train"))
    if len(class_names) < 2:
        raise UserError(
            "data.name",
            f"folder:{root}",
            f"at least two class folders in train/, not {len(class_names)}",
        )
    splits = {"train": "train", "test": "test"} | ({"validation": held[0]} if held else {})
    for name in splits.values():
        for path in _folders(root / name):
            if path.name not in class_names:
                classes = ", ".join(class_names)
                raise UserError("data.name", str(path), f"a class of train/: {classes}")
    found = {split: [*_rows(root / name, class_names)] for split, name in splits.items()}
    labels = {label for _, label in found["train"]}
    for label, name in enumerate(class_names):
        if label not in labels:
            folder = str(root / "train" / name)
            raise UserError("data.name", folder, f"a folder with images in it ({_ENDINGS})")
    for split, name in splits.items():
        if not found[split]:
            allowed = f"a folder with images of the classes ({_ENDINGS})"
            raise UserError("data.name", str(root / name), allowed)
    return Listing(root, class_names, found)


def _folders(folder: Path) -> list[Path]:
    """Returns the subfolders of a folder in natural order, without hidden ones."""
    found = (path for path in folder.iterdir() if path.is_dir() and path.name[0] != ".")
    return sorted(found, key=name_order)


def _rows(folder: Path, class_names: Sequence[str]) -> Rows:
    """Returns images and labels in `folder/<class>/`."""
    _warn(folder, [path for path in _visible(folder) if not path.is_dir()])
    rows: list[tuple[Path, int]] = []
    for label, name in enumerate(class_names):
        if not (folder / name).is_dir():
            continue
        visible = _visible(folder / name)
        fits = [is_image(path) for path in visible]
        _warn(folder / name, [path for path, fit in zip(visible, fits, strict=True) if not fit])
        rows.extend((path, label) for path, fit in zip(visible, fits, strict=True) if fit)
    return rows


def _visible(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.name[0] != ".")


def _warn(folder: Path, ignored: Sequence[Path]) -> None:
    """Warns about entries of a folder that are not images."""
    if ignored:
        names = ", ".join(path.name for path in ignored[:3]) + (", …" if ignored[3:] else "")
        text = "%s: %d entries are not images, ignored: %s (images end in %s)"
        logging.warning(text, folder, len(ignored), names, _ENDINGS)


def decode_folder(listing: Listing, folder: Path, size: Size | None) -> Fields:
    """Decodes the images into a cache entry.

    Images are grayscale if every file is stored as grayscale without alpha channel, and RGB
    otherwise.

    Args:
      listing: The images.
      folder: The cache entry to write.
      size: Requested height and width; None if all images have the same size.

    Returns:
      The fields.

    Raises:
      UserError: If an image is damaged or has 32 bits per channel (the message names the file), or
        if images differ in size and `size` is None.
    """
    every = listing.paths
    channels = 1 if all(is_gray(path) for path in every) else 3
    if size is None:
        height, width, _ = read(every[0], channels).shape
        size = (height, width)
        wanted = f"one size for all ({height} x {width} as {every[0].name}), or data.image_size"
    else:
        wanted = None
    for name, rows in listing.splits.items():
        images = _cache.new_inputs(folder, name, (len(rows), *size, channels))
        for row, (file, _) in enumerate(rows):
            image = read(file, channels)
            if wanted and image.shape[:2] != size:
                got = f"{file}: {image.shape[0]} x {image.shape[1]}"
                raise UserError("data.image_size", got, wanted)
            images[row] = resize_image(image, size)
        images.flush()
        _cache.save_targets(folder, name, [label for _, label in rows])
    return image_fields(listing.class_names)
