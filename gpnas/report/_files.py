"""Reads the JSON, JSON-lines and image files of a run's folder.

Unreadable parts are skipped with a warning.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gpnas._files import digest_matches, parse_json, printable

_MAX_IMAGE = 1 << 26  # bytes of an array in a file of images


@dataclasses.dataclass(frozen=True, eq=False)
class Receptive:
    """Weights of the first layer of a trained network, by input pixel.

    Attributes:
      live: (H, W), number of active first-layer weights of each input pixel.
      filters: (K, H, W), incoming weights of some first-layer units, masked ones zero.
    """

    live: np.ndarray
    filters: np.ndarray


def _json(raw: bytes) -> Mapping[str, Any] | None:
    """Returns a complete JSON object with printable strings, or None."""
    try:
        value = parse_json(raw)
    except ValueError:
        return None
    if not isinstance(value, Mapping) or not digest_matches(value):
        return None
    # Such characters are escaped, or three-byte sequences with this first byte.
    return _printable(value) if b"\\u" in raw or b"\xef\xbf" in raw else value


def _printable(tree: Any) -> Any:
    if isinstance(tree, str):
        return printable(tree)
    if isinstance(tree, Mapping):
        return {_printable(key): _printable(value) for key, value in tree.items()}
    return [_printable(item) for item in tree] if isinstance(tree, list) else tree


def json_file(path: Path, otherwise: str, warnings: list[str]) -> Mapping[str, Any] | None:
    """Returns a JSON object, or None; warns if the file exists but is not one."""
    if not path.is_file():
        return None
    value = _json(path.read_bytes())
    if value is None:
        warnings.append(f"{path.parent.name}/{path.name}: not a whole JSON object; {otherwise}.")
    return value


def json_lines(
    path: Path, where: str, warnings: list[str]
) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Yields the line numbers and objects of a JSON-lines file, warning about torn lines."""
    with path.open("rb") as file:
        for line, raw in enumerate(file, start=1):
            if not raw.strip():
                continue
            value = _json(raw)
            if value is not None:
                yield line, value
            else:
                end = "" if raw.endswith(b"\n") else " (the last line, half-written)"
                warnings.append(f"{where}, line {line}{end}: not a whole JSON object; left out.")


@dataclasses.dataclass(frozen=True, eq=False)
class Mistakes:
    """Test images that a network takes for another class, of the most confused classes first.

    Attributes:
      images: (N, H, W, C) uint8, one or three channels.
      classes: (N,) their classes.
      predicted: (N,) what they are taken for.
    """

    images: np.ndarray
    classes: np.ndarray
    predicted: np.ndarray


def _arrays(path: Path, names: Sequence[str], warnings: list[str]) -> list[np.ndarray] | None:
    """Returns arrays of an `.npz` file by name; None if the file does not exist."""
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as data:
            sizes = [entry.file_size for entry in data.zip.infolist()]
            if max(sizes, default=0) > _MAX_IMAGE:
                raise ValueError("larger than any image")
            arrays = [np.asarray(data[name]) for name in names]
            if any(array.dtype.kind not in "biuf" for array in arrays):
                raise ValueError("no numbers")
            return arrays
    except Exception:  # zipfile, zlib and NumPy raise many types for damaged archives
        warnings.append(f"{path.parent.name}/{path.name}: not readable; left out.")
        return None


def read_mistakes(path: Path, warnings: list[str]) -> Mistakes | None:
    """Returns the content of `mistakes.npz`; None if the file does not exist."""
    arrays = _arrays(path, ("images", "classes", "predicted"), warnings)
    if arrays is None:
        return None
    images, classes, predicted = arrays
    n = len(images) if images.ndim == 4 else 0
    labels = all(x.shape == (n,) and x.dtype.kind in "iu" for x in (classes, predicted))
    if not images.size or images.dtype != np.uint8 or images.shape[3] not in (1, 3) or not labels:
        warnings.append(f"{path.parent.name}/{path.name}: no images of classes; left out.")
        return None
    return Mistakes(images, classes, predicted)


def read_receptive(path: Path, warnings: list[str]) -> Receptive | None:
    """Returns the content of `receptive.npz`; None if the file does not exist."""
    arrays = _arrays(path, ("live", "filters"), warnings)
    if arrays is None:
        return None
    where = f"{path.parent.name}/{path.name}"
    live, filters = (np.asarray(x, np.float32) for x in arrays)
    if not _drawable(live, 2) or live.min() < 0:
        warnings.append(f"{where}: `live` is not an image; left out.")
        return None
    if not _drawable(filters, 3):
        warnings.append(f"{where}: `filters` are not images; left out.")
        filters = np.zeros((0, *live.shape), np.float32)
    return Receptive(live, filters)


def _drawable(array: np.ndarray, rank: int) -> bool:
    return array.ndim == rank and array.size > 0 and bool(np.isfinite(array).all())
