"""JSON files, written atomically and checked on reading; the cache folder."""

import contextlib
import errno
import hashlib
import json
import os
import pathlib
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from gpnas.errors import UserError

PathLike = str | os.PathLike[str]  # a path as users pass it; public functions make it a Path
MAX_DEPTH = 100  # of nested objects and lists, within the limit of recursive readers
# Error numbers of a full disk, quota or size limit, and of a failing disk.
NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
# Characters that are allowed neither in UTF-8 nor in XML.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_NUMBERS = re.compile(r"\[\n([-+.,\deE\s]+)\]")  # a list of numbers, one per line; not in strings


def cache_home() -> pathlib.Path:
    """Returns the cache folder: `~/.cache/gpnas`, or below XDG_CACHE_HOME if it is set."""
    given = os.environ.get("XDG_CACHE_HOME")
    return (pathlib.Path(given) if given else pathlib.Path.home() / ".cache") / "gpnas"


@contextlib.contextmanager
def writing_to(folder: PathLike, field: str) -> Iterator[None]:
    """Converts errors of writing to a folder, in the block, to one line.

    Args:
      folder: The folder.
      field: The field or flag that chose it, for the message.

    Raises:
      UserError: If the block raises `OSError`.
      OSError: If the disk is full or fails.
    """
    try:
        yield
    except OSError as error:
        if error.errno in NO_SPACE:
            raise
        allowed = f"a folder that can be written ({error.strerror})"
        raise UserError(field, str(folder), allowed) from error


def make_folder(path: PathLike, field: str) -> None:
    """Creates a folder, and its parents; raises as `writing_to`."""
    with writing_to(path, field):
        pathlib.Path(path).mkdir(parents=True, exist_ok=True)


def check_writable(path: PathLike, field: str) -> None:
    """Checks that a folder exists or can be created; creates nothing.

    Args:
      path: The folder.
      field: The field or flag that chose it, for the message.

    Raises:
      UserError: If a file is in its place, or its closest existing folder cannot be written.
    """
    whole = pathlib.Path(path).absolute()
    there = next(one for one in (whole, *whole.parents) if one.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise UserError(field, str(path), "a folder that can be written")


def printable(text: str) -> str:
    """Replaces characters that cannot be written, such as those of names that are not UTF-8."""
    return _UNPRINTABLE.sub("\ufffd", text)


def parse_json(text: str | bytes) -> Any:
    """Parses a JSON document.

    Raises:
      ValueError: If it is invalid, or nested more than `MAX_DEPTH` levels deep.
    """
    try:
        value = json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [child for parent in level for child in _children(parent)]
        if not level:
            return value
    raise ValueError("nested too deeply")


def tuples(value: Any) -> Any:
    """Converts lists in JSON data to tuples, recursively."""
    if isinstance(value, Mapping):
        return {name: tuples(inner) for name, inner in value.items()}
    return tuple(map(tuples, value)) if isinstance(value, list | tuple) else value


def lists(value: Any) -> Any:
    """Converts tuples to lists, also in tuples and lists, but not in dicts."""
    return list(map(lists, value)) if isinstance(value, list | tuple) else value


def _children(value: Any) -> Iterable[Any]:
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [child for child in inside if isinstance(child, (dict, list))]


def read_json(path: PathLike, field: str, allowed: str) -> dict[str, Any]:
    """Reads a JSON object from a file.

    Args:
      path: The file.
      field: The field or flag that chose the file, for the message.
      allowed: Description of a valid file, for the message.

    Raises:
      UserError: If the file cannot be read or does not hold a JSON object.
    """
    path = pathlib.Path(path)
    try:
        if path.exists() and not path.is_file():  # reading a pipe or a device may never end
            raise OSError(errno.EINVAL, "not a regular file")
        value = parse_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise UserError(field, str(path), f"{allowed} ({error})") from error
    if not isinstance(value, Mapping):
        raise UserError(field, str(path), f"{allowed} (not a JSON object)")
    if not digest_matches(value):
        raise UserError(field, str(path), f"{allowed} (damaged: its digest is another)")
    return dict(value)


def digest_of(content: Any) -> str:
    """Returns the SHA-256 of JSON data, independent of the order of keys."""
    plain = json.loads(json.dumps(content))  # keys become strings
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a JSON object with the digest of its content in the field "digest"."""
    return {**content, "digest": digest_of(content)}


def digest_matches(content: Mapping[str, Any]) -> bool:
    """Returns whether a JSON object matches its digest, or has none."""
    rest = {name: value for name, value in content.items() if name != "digest"}
    try:
        return "digest" not in content or content["digest"] == digest_of(rest)
    except RecursionError:
        return False


def write_bytes(path: PathLike, content: bytes) -> None:
    """Writes a file atomically; it is on disk on return.

    Raises:
      OSError: If it cannot be written; an existing file is then unchanged.
    """
    path = pathlib.Path(path)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    with naming(path):
        try:
            with open(part, "wb") as file:
                file.write(content)
            sync(part)
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)
        sync(path.parent)


def sync(path: pathlib.Path) -> None:
    """Syncs a file, or the entries of a folder, to disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def disk_failure(error: BaseException) -> int | None:
    """Returns one of `NO_SPACE` if it caused an error of writing, which may be any exception."""
    if isinstance(error, OSError) and error.errno in NO_SPACE:
        return error.errno
    return next((number for number in NO_SPACE if os.strerror(number) in str(error)), None)


@contextlib.contextmanager
def naming(path: pathlib.Path) -> Iterator[None]:
    """Adds the path of the file or folder to write errors; that of a full disk has none."""
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


def write_json(path: PathLike, content: Any) -> None:
    """Writes a JSON file atomically, with lists of numbers on one line; it is on disk on return.

    Raises:
      OSError: As `write_bytes`.
    """
    text = json.dumps(content, indent=1)
    text = _NUMBERS.sub(lambda found: f"[{' '.join(found[1].split())}]", text)
    write_bytes(path, (text + "\n").encode())


def line_of(content: Any) -> bytes:
    """Encodes JSON data as one line of a file."""
    return (json.dumps(content) + "\n").encode()


def records_path(results: PathLike, study: str) -> pathlib.Path:
    """Returns the file of a study's records: RESULTS/STUDY/records.jsonl.

    Raises:
      UserError: If the name of the study is not that of a single folder.
    """
    named = type(study) is str and 0 < len(study.encode(errors="replace")) <= 200
    if not named or study in (".", "..") or set("/\\\0\n") & set(study):
        raise UserError("study", study, "the name of one folder, at most 200 bytes, no /")
    return pathlib.Path(results) / study / "records.jsonl"


def append_line(path: PathLike, content: Any, safe: bool = True) -> None:
    """Appends one JSON line in one write; first completes a line torn by a kill.

    Args:
      path: The file; created if missing.
      content: JSON data.
      safe: Whether the line is on disk on return.

    Raises:
      OSError: If it cannot be written.
    """
    line, path = line_of(content), pathlib.Path(path)
    with naming(path):
        with open(path, "ab+") as file:
            if file.tell() and _last_byte(file) != b"\n":
                line = b"\n" + line
            file.write(line)
        if safe:
            sync(path)


def _last_byte(file: Any) -> bytes:
    file.seek(-1, os.SEEK_END)
    return file.read(1)


def read_lines(path: PathLike) -> list[dict[str, Any]]:
    """Reads all complete JSON objects of a file, one per line; skips other lines.

    Returns:
      The objects; an empty list if the file does not exist.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        return []
    found = []
    for line in path.read_bytes().splitlines():
        try:
            value = parse_json(line)
        except ValueError:
            continue
        if isinstance(value, Mapping) and digest_matches(value):
            found.append(dict(value))
    return found
