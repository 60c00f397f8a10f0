"""The decoded cache: memory-mapped .npy files of each split, keyed by their origin.

    <cache_dir>/entries/<name>-<digest>/<split>_{inputs,targets}.npy, meta.json
    (one pair per split: train, and test and validation if present)
    <cache_dir>/keys/<digest of key>.json        maps a key to an entry
    <cache_dir>/locks/<name>.lock

Entries are named by content and class names, so two sources of one data set share an entry.
"""

import hashlib
import io
import json
import os
import re
import shutil
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from gpnas._files import cache_home, parse_json, write_bytes, write_json
from gpnas.data import _storage
from gpnas.data._dataset import Decoded, Split, content_digest
from gpnas.data._fields import Fields, misfit

# Increment it when decoding changes; older entries are then no longer found.
_FORMAT = 2
# Every load checks the full content of entries up to this size (0.1 s), and shapes of larger ones.
_VERIFY_BYTES = 1 << 30
_SPLITS = ("train", "test", "validation")

Key = Mapping[str, Any]
Fill = Callable[[Path], Fields]


def default_dir() -> Path:
    """Returns `~/.cache/gpnas/decoded`, or the same below XDG_CACHE_HOME if that is set."""
    return cache_home() / "decoded"


def look_up(cache_dir: Path, key: Key) -> Decoded | None:
    """Looks up a key.

    Args:
      cache_dir: The cache.
      key: JSON values that determine the content.

    Returns:
      The decoded data set as memory maps; None if it is missing or, with a warning, if it is
      damaged.
    """
    pointer = _pointer(cache_dir, key)
    try:
        entry = parse_json(pointer.read_bytes())["entry"]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        logging.warning("unreadable cache key %s (%s): made again", pointer, error)
        return None
    return _open(cache_dir / "entries" / Path(str(entry)).name)


def create_entry(cache_dir: Path, name: str, keys: Iterable[Key], write: Fill) -> Decoded:
    """Creates an entry. The caller must hold the lock (`lock_path`).

    Args:
      cache_dir: The cache.
      name: Name of the data set, part of the entry's name.
      keys: Keys that map to the entry; each determines the content.
      write: Writes the arrays into the given folder (`array_path`) and returns their fields.

    Returns:
      The decoded set as memory maps.

    Raises:
      UserError: If the cache cannot be written, or by `write`.
      OSError: If the disk is full or fails.
    """
    entries = cache_dir / "entries"
    with _storage.new_folder(entries) as folder:
        fields = write(folder)
        names = [one for one in _SPLITS if array_path(folder, f"{one}_inputs").exists()]
        digest = content_digest(fields, {one: _map_split(folder, one, fields) for one in names})
        meta = {"format": _FORMAT, "name": name, "fields": fields._asdict(), "sha256": digest}
        meta["splits"] = names
        write_json(folder / "meta.json", meta)
        final = entries / f"{_safe(name)}-{_entry_suffix(digest, fields)}"
        if not _storage.publish(folder, final) and _open(final) is None:
            _replace(folder, final)
        for key in keys:
            _write_pointer(cache_dir, key, final.name)
    decoded = _open(final)
    if decoded is None:
        raise OSError(f"{final} could not be read back right after it was written")
    return decoded


def lock_path(cache_dir: Path, name: str) -> Path:
    """Returns the lock file to hold while an entry of a data set is created."""
    return cache_dir / "locks" / f"{_safe(name)}.lock"


def array_path(folder: Path, part: str) -> Path:
    """Returns the file of the part `<split>_inputs` or `<split>_targets` in an entry."""
    return folder / f"{part}.npy"


def new_inputs(folder: Path, name: str, shape: tuple[int, ...], dtype: Any = np.uint8) -> np.memmap:
    """Creates a writable memory map for the inputs of split `name` in an entry.

    Raises:
      OSError: If the disk has too little space.
    """
    path = array_path(folder, f"{name}_inputs")
    little = np.dtype(dtype).newbyteorder("<")
    inputs: np.memmap = np.lib.format.open_memmap(path, "w+", little, shape)
    with open(path, "rb+") as file:
        _storage.reserve_space(file.fileno(), os.path.getsize(path))
    return inputs


def save_targets(folder: Path, name: str, targets: Any, dtype: Any = np.int32) -> None:
    """Writes the targets of split `name`, (n, …), into an entry, little-endian."""
    content = io.BytesIO()  # NumPy's file writing does not report a full disk
    little = np.dtype(dtype).newbyteorder("<")
    np.save(content, np.asarray(targets, little), allow_pickle=False)
    write_bytes(array_path(folder, f"{name}_targets"), content.getvalue())


def _entry_suffix(digest: str, fields: Fields) -> str:
    """Returns the last part of an entry's name: 16 hexadecimal digits of its digest."""
    text = json.dumps([_FORMAT, digest, fields._asdict()])
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:16]


def _map_split(folder: Path, name: str, fields: Fields) -> Split:
    """Opens the two arrays of a split and checks that they are consistent."""
    inputs, targets = (
        np.load(array_path(folder, f"{name}_{part}"), "r", allow_pickle=False)
        for part in ("inputs", "targets")
    )
    wrong = misfit(fields, inputs, targets)
    if wrong:
        raise ValueError(f"arrays in {folder}: {wrong}")
    return Split(inputs, targets)


def _open(entry: Path) -> Decoded | None:
    """Opens an entry; returns None, with a warning, if it is damaged."""
    try:
        meta = parse_json((entry / "meta.json").read_bytes())
        known: Any = {k: tuple(v) if isinstance(v, list) else v for k, v in meta["fields"].items()}
        fields, names = Fields(**known), meta["splits"]
        splits = {str(name): _map_split(entry, str(name), fields) for name in names}
        digest = str(meta["sha256"])
        small = sum(split.inputs.nbytes for split in splits.values()) <= _VERIFY_BYTES
        if "train" not in splits or not set(splits) <= set(_SPLITS):
            raise ValueError(f"splits are {names}")
        if small and content_digest(fields, splits) != digest:
            raise ValueError("content differs from its sha256")
        if not entry.name.endswith(_entry_suffix(digest, fields)):
            raise ValueError("fields differ from its name")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError) as error:
        logging.warning("damaged cache entry %s (%s): made again", entry, error)
        return None
    return Decoded(fields, splits, digest)


def _replace(folder: Path, final: Path) -> None:
    """Replaces a damaged entry by `folder`. Processes that have mapped the old one keep it."""
    aside = final.with_name(f".tmp-{os.getpid()}-{uuid.uuid4().hex}")
    os.rename(final, aside)
    os.rename(folder, final)
    shutil.rmtree(aside, ignore_errors=True)


def _pointer(cache_dir: Path, key: Key) -> Path:
    """Returns the file that maps a key to an entry."""
    text = json.dumps({"format": _FORMAT, **key}, sort_keys=True)
    return cache_dir / "keys" / f"{hashlib.sha256(text.encode()).hexdigest()}.json"


def _write_pointer(cache_dir: Path, key: Key, entry: str) -> None:
    """Writes the file that maps a key to an entry, atomically."""
    pointer = _pointer(cache_dir, key)
    pointer.parent.mkdir(parents=True, exist_ok=True)
    made = time.strftime("%FT%TZ", time.gmtime())
    write_json(pointer, {"key": key, "entry": entry, "made": made})


def _safe(name: str) -> str:
    """Returns `name` as one safe path component."""
    return re.sub(r"[^A-Za-z0-9_.-]", "_", name).lstrip(".")[:80] or "_"
