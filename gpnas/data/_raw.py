"""Official raw files: locates, reads and checks them."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from gpnas.data import _cache, _cifar, _idx
from gpnas.data._dataset import Split
from gpnas.data._fields import Fields, image_fields
from gpnas.data._known import CIFAR_ARCHIVE, PARTS, KnownDataset
from gpnas.data.image_files import Size, resize_image
from gpnas.errors import UserError


def locate(known: KnownDataset, folder: Path) -> tuple[list[Path], list[str]]:
    """Finds the files of a data set in a folder.

    Args:
      known: The data set.
      folder: Folder to search.

    Returns:
      The files to read, in order, and the names of missing files. Uncompressed files are preferred.
    """
    if known.layout == "cifar":
        return _locate_cifar(known, folder)
    found, missing = [], []
    for part in PARTS:
        (name,) = known.files[part]
        dotted = name.replace("-idx", ".idx")  # as unpacked on some mirrors
        names = (name, f"{name}.gz", dotted, f"{dotted}.gz")
        paths = [folder / each for each in names if (folder / each).is_file()]
        found.extend(paths[:1])
        if not paths:
            missing.append(f"{name}.gz")
    return found, missing


def _locate_cifar(known: KnownDataset, folder: Path) -> tuple[list[Path], list[str]]:
    """As `locate`: the batches in the folder or its subfolder, else the archive."""
    names = known.files["train"] + known.files["test"]
    for place in (folder, folder / _cifar.FOLDER):
        paths = [place / name for name in names]
        absent = [path.name for path in paths if not path.is_file()]
        if not absent:
            return paths, []
        if len(absent) < len(names):
            return [path for path in paths if path.is_file()], absent
    archive = folder / CIFAR_ARCHIVE
    if archive.is_file():
        return [archive], []
    hint = ""
    if any((folder / name).exists() for name in _cifar.PICKLES):
        hint = " (the Python version is there: it is pickles, which are never read)"
    return [], [f"{CIFAR_ARCHIVE} or {_cifar.FOLDER}/{names[0]}{hint}"]


def read_raw(known: KnownDataset, paths: Sequence[Path]) -> tuple[Split, Split]:
    """Reads and checks the files that `locate` found.

    Args:
      known: The data set.
      paths: Its files, in the order of `locate`.

    Returns:
      Train and test in their official order.

    Raises:
      UserError: If a file is damaged or differs from the official one; the message names it.
    """
    if known.layout == "cifar":
        return _read_cifar(known, paths)
    arrays = []
    for part, path in zip(PARTS, paths, strict=True):
        rows = known.rows[part.split("_")[0]]
        shape = (rows, *known.shape[:2]) if part.endswith("images") else (rows,)
        array, content = _idx.read_idx(path, shape)
        found = hashlib.sha256(content).hexdigest()
        if found != known.sha256[part]:
            wanted = f"{part} of {known.name}, uncompressed sha256 {known.sha256[part]}"
            raise UserError("data.raw_dir", str(path), f"{wanted}, not {found}")
        arrays.append(array)
    return (
        Split(arrays[0][..., None], arrays[1].astype(np.int32)),
        Split(arrays[2][..., None], arrays[3].astype(np.int32)),
    )


def write_raw(
    known: KnownDataset, splits: Sequence[Split], folder: Path, size: Size | None
) -> Fields:
    """Writes a data set into a cache entry.

    Args:
      known: The data set.
      splits: Train and test in their official order.
      folder: The cache entry to write.
      size: Requested height and width; None for the stored size.

    Returns:
      The fields.
    """
    for name, split in zip(("train", "test"), splits, strict=True):
        shape = (*(size or known.shape[:2]), known.shape[2])
        images = _cache.new_inputs(folder, name, (len(split), *shape))
        for row, image in enumerate(split.inputs):
            images[row] = resize_image(image, size)
        images.flush()
        _cache.save_targets(folder, name, split.targets)
    return image_fields(known.class_names)


def _read_cifar(known: KnownDataset, paths: Sequence[Path]) -> tuple[Split, Split]:
    """As `read_raw`, from the batches or from the archive."""
    splits = []
    archived = len(paths) == 1
    if archived:
        _cifar.check_archive(paths[0], known.sha256[CIFAR_ARCHIVE])
    for name in ("train", "test"):
        files = known.files[name]
        if archived:
            content = _cifar.read_tar(paths[0], files, known.rows[name])
        else:
            batches = [path for path in paths if path.name in files]
            content = _cifar.read_files(batches, known.rows[name])
        images, labels = _cifar.parse_records(content)
        split = Split(images, labels.astype(np.int32))
        mean = images.mean(axis=(0, 1, 2), dtype=np.float64)
        _cifar.check_statistics(
            known, name, mean, split.targets, str(paths[0].parent), "data.raw_dir"
        )
        splits.append(split)
    return splits[0], splits[1]
