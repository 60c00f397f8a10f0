"""The decoded cache: four .npy files a data set, memory-mapped, found by what they were made from.

    <cache_dir>/entries/<name>-<digest>/{train,test}_{images,labels}.npy, meta.json
    <cache_dir>/keys/<digest of key>.json        says which entry answers a key
    <cache_dir>/locks/<name>.lock

Entries are named after their content, so two sources of the same set share one.
"""

import hashlib
import json
import os
import re
import shutil
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from gpnas.data import storage
from gpnas.data.dataset import Decoded, Split, content_digest
from gpnas.data.known import PARTS

# Raise it when the way of decoding changes: older entries are then no longer found.
_FORMAT = 1
# Entries up to this size are checked in full at every load (0.1 s), larger ones by shape only.
_VERIFY_BYTES = 1 << 30

Key = Mapping[str, Any]
Fill = Callable[[Path], tuple[str, ...]]


def default_dir() -> Path:
    """`~/.cache/gpnas/decoded`, below XDG_CACHE_HOME if that is set."""
    return cache_home() / "decoded"


def cache_home() -> Path:
    """The folder for everything gpnas may make again."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gpnas"


def find(cache_dir: Path, key: Key) -> Decoded | None:
    """Looks up a key.

    Args:
      cache_dir: The cache.
      key: What determines the content: JSON values.

    Returns:
      The decoded set as memory maps, or None if it is not there or is damaged (a warning says so).
    """
    pointer = _pointer(cache_dir, key)
    try:
        entry = json.loads(pointer.read_text())["entry"]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        logging.warning("unreadable cache key %s (%s): made again", pointer, error)
        return None
    return _open(cache_dir / "entries" / Path(str(entry)).name)


def fill(cache_dir: Path, name: str, key: Key, write: Fill) -> Decoded:
    """Makes an entry. Hold `lock` meanwhile.

    Args:
      cache_dir: The cache.
      name: Of the data set, for the entry's name.
      key: What determines the content.
      write: Writes the arrays into the folder it is given (`array_path`) and returns class names.

    Returns:
      The decoded set as memory maps.

    Raises:
      UserError: The cache cannot be written; or what `write` raises.
    """
    entries = cache_dir / "entries"
    with storage.new_folder(entries, field="data.cache_dir") as folder:
        class_names = write(folder)
        train, test = _map_arrays(folder)
        digest = content_digest(train, test)
        meta = {"format": _FORMAT, "name": name, "class_names": class_names, "sha256": digest}
        (folder / "meta.json").write_text(json.dumps(meta, indent=1))
        final = entries / f"{_safe(name)}-{digest[:16]}"
        if not storage.publish(folder, final) and _open(final) is None:
            _replace(folder, final)
        _write_pointer(cache_dir, key, final.name)
    decoded = _open(final)
    if decoded is None:
        raise OSError(f"{final} could not be read back right after it was written")
    return decoded


def lock_path(cache_dir: Path, name: str) -> Path:
    """The lock to hold while an entry of this data set is made."""
    return cache_dir / "locks" / f"{_safe(name)}.lock"


def array_path(folder: Path, part: str) -> Path:
    """Where in an entry a part of `PARTS` lies."""
    return folder / f"{part}.npy"


def save(folder: Path, train: Split, test: Split) -> None:
    """Writes whole arrays into an entry."""
    for name, split in (("train", train), ("test", test)):
        np.save(array_path(folder, f"{name}_images"), split.images, allow_pickle=False)
        save_labels(folder, name, split.labels)


def save_labels(folder: Path, name: str, labels: Any) -> None:
    """Writes the labels, (N,) integers, of split `name` into an entry as little-endian int32."""
    path = array_path(folder, f"{name}_labels")
    np.save(path, np.asarray(labels, dtype="<i4"), allow_pickle=False)


def _map_arrays(folder: Path) -> tuple[Split, Split]:
    """Opens the four arrays of an entry and checks that they belong together."""
    arrays = [np.load(array_path(folder, part), "r", allow_pickle=False) for part in PARTS]
    for images, labels in (arrays[:2], arrays[2:]):
        shapes_fit = images.ndim == 4 and labels.shape == images.shape[:1]
        if not shapes_fit or images.dtype != np.uint8 or labels.dtype != np.dtype("<i4"):
            raise ValueError(f"arrays in {folder} do not fit together")
    return Split(arrays[0], arrays[1]), Split(arrays[2], arrays[3])


def _open(entry: Path) -> Decoded | None:
    """Opens an entry; None, with a warning, if it is damaged."""
    try:
        meta = json.loads((entry / "meta.json").read_text())
        train, test = _map_arrays(entry)
        digest, class_names = str(meta["sha256"]), tuple(map(str, meta["class_names"]))
        small = train.images.nbytes + test.images.nbytes <= _VERIFY_BYTES
        if small and content_digest(train, test) != digest:
            raise ValueError("content differs from its sha256")
    except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
        logging.warning("damaged cache entry %s (%s): made again", entry, error)
        return None
    return Decoded(train, test, class_names, digest)


def _replace(folder: Path, final: Path) -> None:
    """Puts `folder` in the place of a damaged entry. Who has that one mapped keeps it."""
    aside = final.with_name(f".tmp-{os.getpid()}-{uuid.uuid4().hex}")
    os.rename(final, aside)
    os.rename(folder, final)
    shutil.rmtree(aside, ignore_errors=True)


def _pointer(cache_dir: Path, key: Key) -> Path:
    """The file that answers a key."""
    text = json.dumps({"format": _FORMAT, **key}, sort_keys=True)
    return cache_dir / "keys" / f"{hashlib.sha256(text.encode()).hexdigest()}.json"


def _write_pointer(cache_dir: Path, key: Key, entry: str) -> None:
    """Writes the file that answers a key, in one step."""
    pointer = _pointer(cache_dir, key)
    pointer.parent.mkdir(parents=True, exist_ok=True)
    temporary = pointer.with_name(f".tmp-{os.getpid()}-{uuid.uuid4().hex}")
    text = json.dumps({"key": key, "entry": entry, "made": time.strftime("%FT%TZ", time.gmtime())})
    temporary.write_text(text)
    os.replace(temporary, pointer)


def _safe(name: str) -> str:
    """`name` as one harmless component of a path."""
    return re.sub(r"[^A-Za-z0-9_.-]", "_", name).lstrip(".")[:80] or "_"
