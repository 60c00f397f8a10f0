"""Prepared TFDS data: array_record only, through `as_data_source`, without TensorFlow."""

import hashlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gpnas._files import parse_json
from gpnas.data import _cache, _cifar, _idx, _storage
from gpnas.data._fields import Fields, image_fields
from gpnas.data._known import KnownDataset
from gpnas.data.image_files import Size, resize_image
from gpnas.errors import UserError, explained

_FORMAT = "array_record"
_VERSION = re.compile(r"\d+\.\d+\.\d+")
_BATCH = 1024
# Exceptions that damaged records or images are known to raise.
_DAMAGED = (OSError, ValueError, LookupError, RuntimeError, SyntaxError, EOFError)


def tfds_order(split: str, n: int) -> npt.NDArray[np.intp]:
    """Returns the order in which TFDS stores n examples whose keys are 0 … n-1.

    TFDS sorts by the MD5 of the split's name followed by the key.

    Args:
      split: `train` or `test`.
      n: Number of examples.

    Returns:
      intp, (n,): entry p is the official index of the record at position p.
    """
    digests = [hashlib.md5(f"{split}{key}".encode()).digest() for key in range(n)]
    return np.array(sorted(range(n), key=digests.__getitem__), np.intp)


def find_prepared(name: str, data_dir: Path) -> tuple[Path | None, str]:
    """Finds the newest prepared version of a data set.

    Args:
      name: Name in TFDS: `name` or `name/config`.
      data_dir: Folder to search.

    Returns:
      The folder with `dataset_info.json` or None, and the reason if None.
    """
    folder = data_dir / name
    versions = _versions(folder)
    if not versions:
        configs = sorted(path.parent.parent.name for path in folder.glob("*/*/dataset_info.json"))
        if configs:
            return (None, f"{folder} holds configurations: name/{' or name/'.join(configs)}")
        return None, f"none in {folder}"
    try:
        info = parse_json((versions[-1] / "dataset_info.json").read_bytes())
        formats = [info.get("fileFormat"), *info.get("alternativeFileFormats", ())]
    except (OSError, ValueError, AttributeError, TypeError) as error:
        return None, f"unreadable {versions[-1] / 'dataset_info.json'} ({error})"
    if _FORMAT not in formats:
        return None, f"{versions[-1]} is {formats[0]}, not {_FORMAT}"
    return versions[-1], ""


def _versions(folder: Path) -> list[Path]:
    """Returns the prepared versions below `<data_dir>/<name>`, oldest first."""
    found = [
        path.parent
        for path in folder.glob("*/dataset_info.json")
        if _VERSION.fullmatch(path.parent.name)
    ]
    return sorted(found, key=lambda path: [int(number) for number in path.name.split(".")])


def fingerprint_prepared(directory: Path) -> str:
    """Returns a cheap digest of the files of a prepared data set."""
    return _storage.fingerprint((path for path in directory.iterdir() if path.is_file()), directory)


def decode_prepared(
    directory: Path,
    folder: Path,
    size: Size | None,
    known: KnownDataset | None,
) -> Fields:
    """Decodes a prepared data set into a cache entry, in official order where that is known.

    Args:
      directory: Folder of the prepared data set.
      folder: The cache entry to write.
      size: Requested height and width; None for the stored size.
      known: Constants of the data set, if it is a known one.

    Returns:
      The fields.

    Raises:
      UserError: If it is not an image classification data set of one image size with train and test
        splits, if its files are damaged, or if its content is not that of the known data set.
    """
    import tensorflow_datasets as tfds

    broken = (OSError, ValueError, KeyError)
    with explained("data.data_dir", str(directory), "prepared TFDS data", *broken):
        builder = tfds.builder_from_directory(directory, file_format=_FORMAT)
    image_key, label_key = _keys(builder.info, directory)
    for split, stored in _split_names(builder.info, directory).items():
        source = builder.as_data_source(split=stored)
        if known and len(source) != known.rows[split]:
            raise UserError("data.data_dir", str(directory), f"{known.rows[split]} rows in {split}")
        order = np.argsort(tfds_order(split, len(source))) if known else np.arange(len(source))
        examples = _examples(source, order, directory)
        pairs = ((example[image_key], int(example[label_key])) for example in examples)
        images, mean, labels = _decode_split(pairs, len(source), folder, split, size, directory)
        if known and known.pinned:
            found = {f"{split}_images": images, f"{split}_labels": _digest(labels)}
            _compare(known.sha256, found, directory)
        elif known:
            _cifar.check_statistics(known, split, mean, labels, str(directory), "data.data_dir")
    names = builder.info.features[label_key].names
    return image_fields(tuple(str(name) for name in names))


def _keys(info: Any, directory: Path) -> tuple[str, str]:
    """Returns the features that contain the image and its class."""
    import tensorflow_datasets as tfds

    keys = info.supervised_keys or ("image", "label")
    if len(keys) == 2 and all(isinstance(key, str) and key in info.features for key in keys):
        image, label = (info.features[key] for key in keys)
        kinds = (
            isinstance(image, tfds.features.Image),
            isinstance(label, tfds.features.ClassLabel),
        )
        if all(kinds) and image.np_dtype == np.uint8 and image.shape[-1] in (1, 3):
            return keys[0], keys[1]
    raise UserError(
        "data.name",
        f"{info.full_name} in {directory}",
        "an image classification set, 8 bits, 1 or 3 channels",
    )


def _split_names(info: Any, directory: Path) -> dict[str, str]:
    """Maps splits to stored splits; `validation` serves as test if no test split is stored."""
    stored = list(info.splits)
    if all(name in stored for name in ("train", "test", "validation")):
        return {name: name for name in ("train", "test", "validation")}
    for test in ("test", "validation"):
        if "train" in stored and test in stored:
            return {"train": "train", "test": test}
    raise UserError(
        "data.name", f"{info.full_name} in {directory}", f"splits train and test, not {stored}"
    )


def _examples(
    source: Any, order: npt.NDArray[np.intp], directory: Path
) -> Iterator[dict[str, Any]]:
    """Yields examples in the given order of records; reads them in batches."""
    from google.protobuf.message import DecodeError

    for start in range(0, len(order), _BATCH):
        rows = [int(row) for row in order[start : start + _BATCH]]
        damaged = (*_DAMAGED, DecodeError)
        with explained("data.data_dir", str(directory), "undamaged array_record files", *damaged):
            yield from source.__getitems__(rows)


def _decode_split(
    pairs: Iterator[tuple[npt.NDArray[np.uint8], int]],
    rows: int,
    folder: Path,
    split: str,
    size: Size | None,
    directory: Path,
) -> tuple[str, npt.NDArray[np.float64], npt.NDArray[np.int32]]:
    """Writes one split into the cache entry.

    Returns:
      SHA-256 of the images before resampling, as an uncompressed idx file; their channel means (0
      to 255); the labels.
    """
    digest, total, pixels = hashlib.sha256(), np.zeros(1), 0
    labels = np.zeros(rows, "<i4")
    images: np.memmap | None = None
    for row, (image, label) in enumerate(pairs):
        if row == 0:
            shape = image.shape[:2] if image.shape[2] == 1 else image.shape
            digest.update(_idx.header((rows, *shape)))
        digest.update(np.ascontiguousarray(image).data)
        total = total + image.sum(axis=(0, 1), dtype=np.float64)
        pixels += image.shape[0] * image.shape[1]
        image = resize_image(image, size)
        if images is None:
            images = _cache.new_inputs(folder, split, (rows, *image.shape))
        if image.shape != images.shape[1:]:
            raise UserError(
                "data.image_size", None, f"a size, since images in {directory} differ in size"
            )
        images[row] = image
        labels[row] = label
    if images is None or labels.min() < 0:
        raise UserError("data.name", str(directory), f"a data set with labelled images in {split}")
    images.flush()
    _cache.save_targets(folder, split, labels)
    return digest.hexdigest(), total / pixels, labels


def _digest(labels: npt.NDArray[np.int32]) -> str:
    """Returns the SHA-256 of labels as an uncompressed idx file."""
    return hashlib.sha256(_idx.header(labels.shape) + labels.astype(np.uint8).tobytes()).hexdigest()


def _compare(wanted: Mapping[str, str], found: Mapping[str, str], directory: Path) -> None:
    """Checks digests of parts.

    Raises:
      UserError: If a digest differs.
    """
    for part, digest in found.items():
        if digest != wanted[part]:
            text = f"data whose {part} have sha256 {wanted[part]} as an idx file, not {digest}"
            raise UserError("data.data_dir", str(directory), text)
