"""`load`: loads a data set by name."""

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from absl import logging

from gpnas import _locks
from gpnas._files import PathLike
from gpnas.data import (
    _cache,
    _digits,
    _folder,
    _own,
    _prepared,
    _raw,
    _sources,
    _storage,
    _table,
    _text,
)
from gpnas.data._dataset import Dataset, Decoded, Split
from gpnas.data._fields import Fields
from gpnas.data._known import KNOWN, KnownDataset
from gpnas.data._split import split_parts, statistics
from gpnas.data.image_files import Size, parse_size
from gpnas.errors import UserError

_FOLDER, _CSV, _TEXT = "folder:", "csv:", "text:"
_VALIDATION = 0.1
_LENGTH = 128
_TFDS_NAME = re.compile(r"[a-z][a-z0-9_]*(/[A-Za-z0-9_][A-Za-z0-9_.+-]*)?")
_NAMES = (
    "fashion_mnist, mnist, cifar10, digits, folder:PATH, csv:PATH, text:PATH, module:function "
    "of your own, or an image classification set prepared by TFDS as array_record"
)


@dataclasses.dataclass(frozen=True)
class _Request:
    """The checked arguments of `load`."""

    name: str
    size: Size | None
    raw_dir: Path | None
    data_dir: Path
    cache_dir: Path
    download: bool
    target: str
    target_kind: str | None
    length: int


def load(
    name: str,
    *,
    raw_dir: PathLike | None = None,
    data_dir: PathLike | None = None,
    cache_dir: PathLike | None = None,
    validation: float = _VALIDATION,
    seed: int = 0,
    image_size: int | Sequence[int] | None = None,
    download: bool = True,
    target: str = "",
    target_kind: str | None = None,
    length: int = _LENGTH,
) -> Dataset:
    """Loads a data set: images with classes, a table, a text, or your own arrays.

    `docs/data.md` describes where a named data set is searched and stored.

    Args:
      name: `fashion_mnist`, `mnist`, `cifar10`, `digits`, `folder:PATH` (`train/<class>/` and
        `test/<class>/` with images), `csv:PATH` (a table of numbers), `text:PATH` (characters),
        `module:function` (a function that returns a `Source`), or a data set that TFDS has prepared
        as array_record (`name` or `name/config`).
      raw_dir: Folder with the official raw files (idx, or the binary version of CIFAR-10). If
        given, no other source is tried.
      data_dir: TFDS's folder, read-only. Default: TFDS_DATA_DIR, `~/tensorflow_datasets`.
      cache_dir: Folder of the decoded cache. Default: `~/.cache/gpnas/decoded`.
      validation: Fraction of the official training set to hold out, in (0, 1); every class keeps a
        training example. Unused if the data set has its own validation set (`val/` or `val.csv` of
        a folder; in TFDS, a split `validation` in addition to `test`).
      seed: Seed of the held-out part, 0 to 2**32 - 1. Test sets never depend on it.
      image_size: Side, or height and width, in pixels, to resample to. Default: the stored size.
      download: Whether to use the network.
      target: For a table: the columns to predict, separated by commas; the last by default.
      target_kind: For a table: `class` (the default), `value` (regression) or `labels` (0 and 1).
      length: For a text: characters per sequence.

    Returns:
      The data set. Its arrays are read-only; without a held-out part they are views of memory maps.

    Raises:
      UserError: If an argument, a file or an array is invalid, or if no source has the data set;
        the message gives the reason.
      OSError: If the disk of the cache is full.
    """
    _check(name, validation, seed)
    raw, prepared, cache = (
        None if folder is None else Path(folder).expanduser()
        for folder in (raw_dir, data_dir, cache_dir)
    )
    request = _Request(
        name=name,
        size=parse_size(image_size),
        raw_dir=raw,
        data_dir=prepared or _sources.tfds_data_dir(),
        cache_dir=cache or _cache.default_dir(),
        download=download,
        target=target,
        target_kind=target_kind,
        length=length,
    )
    return _assemble(request, _decoded(request), validation, seed)


def _check(name: object, validation: object, seed: object) -> None:
    """Checks the arguments that have a range."""
    if not isinstance(name, str):
        raise UserError("data.name", name, _NAMES)
    number = isinstance(validation, int | float) and not isinstance(validation, bool)
    if not number or not 0 < validation < 1:  # type: ignore[operator]
        raise UserError("data.validation", validation, "a number in (0, 1)")
    whole = isinstance(seed, int | np.integer) and not isinstance(seed, bool)
    if not whole or not 0 <= seed < 2**32:  # type: ignore[operator]
        raise UserError("data.seed", seed, "a whole number from 0 to 2**32 - 1")


def _assemble(request: _Request, decoded: Decoded, validation: float, seed: int) -> Dataset:
    """Holds out missing splits and computes the statistics of the training inputs."""
    name = request.name
    if "validation" in decoded.splits and validation != _VALIDATION:
        logging.warning("data.validation=%s is not used: %s has a validation set", validation, name)
    if decoded.fields.targets == "next" and seed:
        logging.warning("data.seed=%s is not used: the end of the text is held out", seed)
    parts = split_parts(decoded, name, validation, int(seed), request.cache_dir)
    frozen = {part: _frozen(split) for part, split in parts.items()}
    mean, std = statistics(decoded.fields, frozen["train"].inputs)
    return Dataset(
        name=name,
        **frozen,
        fields=decoded.fields,
        sha256=decoded.sha256,
        mean=mean,
        std=std,
    )


def _frozen(split: Split) -> Split:
    """Returns a split with read-only views; the arrays may belong to the user."""
    inputs, targets = (np.asarray(array).view() for array in (split.inputs, split.targets))
    inputs.setflags(write=False)
    targets.setflags(write=False)
    return Split(inputs, targets)


def _decoded(request: _Request) -> Decoded:
    """Returns the decoded data set from the kind of source that its name selects."""
    name = request.name
    known = KNOWN.get(name)
    if request.raw_dir is not None and known is None:
        raise UserError("data.raw_dir", str(request.raw_dir), f"None for {name!r}")
    for field, value, default, source in (
        ("target", request.target, "", _CSV),
        ("target_kind", request.target_kind, None, _CSV),
        ("length", request.length, _LENGTH, _TEXT),
    ):
        if value != default and not name.startswith(source):
            allowed = f"{default!r} for {name!r}, which is not {source}PATH"
            raise UserError(f"data.{field}", value, allowed)
    if name == "digits":
        return _digits.load_digits(request.size)
    if name.startswith(_FOLDER):
        return _from_folder(request)
    if known and request.raw_dir is not None:
        return _from_raw_dir(request, known, request.raw_dir)
    if ":" in name:
        return _from_user(request)
    if not _TFDS_NAME.fullmatch(name):
        raise UserError("data.name", name, _NAMES)
    return _from_name(request, known)


def _from_user(request: _Request) -> Decoded:
    """Decodes a table, a text, or the result of a user's function."""
    if request.size is not None:
        raise UserError("data.image_size", request.size, f"None for {request.name!r}")
    kind, _, rest = request.name.partition(":")
    if f"{kind}:" not in (_CSV, _TEXT):
        return _own.load_source(request.name, request.cache_dir)
    if not rest:
        raise UserError("data.name", request.name, _NAMES)
    path = Path(rest).expanduser().absolute()
    if f"{kind}:" == _TEXT:
        return _text.load_text(path, request.length)
    files = _table.scan_table(path)
    target = _table.parse_target(request.target, request.target_kind or "class")
    content = _storage.fingerprint(files.values(), path.parent)
    key = {"name": "csv", "csv": content, "splits": list(files), "target": target._asdict()}
    return _cached(
        request, f"csv-{path.stem}", key, lambda out: _table.decode_table(files, out, target)
    )


def _from_folder(request: _Request) -> Decoded:
    """Decodes an image folder; again if a file was added, removed or changed."""
    path = request.name.removeprefix(_FOLDER)
    if not path:
        raise UserError("data.name", request.name, _NAMES)
    listing = _folder.scan_folder(Path(path).expanduser().absolute())
    key = _key(request, {"folder": listing.fingerprint()})
    name = f"folder-{listing.root.name}"
    return _cached(
        request, name, key, lambda out: _folder.decode_folder(listing, out, request.size)
    )


def _from_raw_dir(request: _Request, known: KnownDataset, raw_dir: Path) -> Decoded:
    """Decodes a known data set from the user's `raw_dir` and no other source."""
    paths = _sources.raw_files(known, raw_dir)
    key = _key(request, {"raw": _storage.fingerprint(paths, raw_dir), "known": _pins(known)})
    also = [_key(request, {"known": _pins(known)})] if known.pinned else []

    def write(out: Path) -> Fields:
        return _raw.write_raw(known, _raw.read_raw(known, paths), out, request.size)

    return _cached(request, known.name, key, write, also)


def _from_name(request: _Request, known: KnownDataset | None) -> Decoded:
    """Decodes a data set by name: from the cache, prepared data, or, if known, raw files."""
    name = request.name
    prepared, reason = _prepared.find_prepared(name, request.data_dir)
    if prepared is None and known is None:
        raise UserError("data.name", name, f"{_NAMES}. Tried: {reason}")

    def write(out: Path) -> Fields:
        if prepared:
            return _prepared.decode_prepared(prepared, out, request.size, known)
        assert known is not None
        logging.info("%s: %s", name, reason)
        splits = _sources.obtain(known, request.data_dir, request.download, reason)
        return _raw.write_raw(known, splits, out, request.size)

    if known and (known.pinned or prepared is None):
        content = {"known": _pins(known)}
    else:
        assert prepared is not None
        content = {"prepared": _prepared.fingerprint_prepared(prepared)}
    if known is None:
        # Older entries may lack the data set's own validation set, so they must not be found.
        content["splits"] = "with validation"
    return _cached(request, name, _key(request, content), write)


def _cached(
    request: _Request,
    name: str,
    key: _cache.Key,
    write: _cache.Fill,
    also: Sequence[_cache.Key] = (),
) -> Decoded:
    """Opens the entry of a key; creates it if it does not exist, one process at a time.

    The keys `also` map to a new entry, too.
    """
    found = _cache.look_up(request.cache_dir, key)
    if found:
        return found
    with _locks.locked(_cache.lock_path(request.cache_dir, name), field="data.cache_dir"):
        return _cache.look_up(request.cache_dir, key) or _cache.create_entry(
            request.cache_dir, name, (key, *also), write
        )


def _key(request: _Request, content: dict[str, str]) -> _cache.Key:
    """Returns the cache key: kind of data set, what determines its content, and image size."""
    name = "folder" if request.name.startswith(_FOLDER) else request.name
    return {"name": name, "image_size": request.size, **content}


def _pins(known: KnownDataset) -> str:
    """Returns all checksums of a known data set in one string."""
    return ",".join(f"{part}={digest}" for part, digest in sorted(known.sha256.items()))
