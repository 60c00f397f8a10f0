"""JSON files, written whole or not at all and checked when they are read; the cache folder."""

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

MAX_DEPTH = 100  # of nested objects and lists: recursive readers stay within the stack
# What the system says where a disk, a quota or a limit of size is full, or the disk fails.
NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
_NUMBERS = re.compile(r"\[\n([-+.,\deE\s]+)\]")  # a list of them, an item a line; no text has one


def cache_home() -> pathlib.Path:
    """Folder of what gpnas can make again: `~/.cache/gpnas`, below XDG_CACHE_HOME if it is set."""
    given = os.environ.get("XDG_CACHE_HOME")
    return (pathlib.Path(given) if given else pathlib.Path.home() / ".cache") / "gpnas"


def parse_json(text: str | bytes) -> Any:
    """A JSON document.

    Raises:
      ValueError: If it is not one, or is nested more than `MAX_DEPTH` levels deep.
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
    """JSON data in which lists are tuples, also inside of objects."""
    if isinstance(value, Mapping):
        return {name: tuples(inner) for name, inner in value.items()}
    return tuple(map(tuples, value)) if isinstance(value, list | tuple) else value


def lists(value: Any) -> Any:
    """Tuples as lists, as JSON has them, also inside of each other."""
    return list(map(lists, value)) if isinstance(value, list | tuple) else value


def _children(value: Any) -> Iterable[Any]:
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [child for child in inside if isinstance(child, (dict, list))]


def read_json(path: pathlib.Path, field: str, allowed: str) -> dict[str, Any]:
    """A JSON object from a file.

    Args:
      path: The file.
      field: The field or flag that chose the file, for the message.
      allowed: What the file should have been, for the message.

    Raises:
      UserError: If the file cannot be read or does not hold a JSON object.
    """
    try:
        if path.exists() and not path.is_file():  # a pipe or a device may never end
            raise OSError(errno.EINVAL, "not a regular file")
        value = parse_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise UserError(field, str(path), f"{allowed} ({error})") from error
    if not isinstance(value, Mapping):
        raise UserError(field, str(path), f"{allowed} (not a JSON object)")
    if not is_whole(value):
        raise UserError(field, str(path), f"{allowed} (damaged: its digest is another)")
    return dict(value)


def digest_of(content: Any) -> str:
    """SHA-256 of JSON data, whatever the order of its keys."""
    plain = json.loads(json.dumps(content))  # keys as they come back: strings
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON object with the digest of what it holds, in the field "digest"."""
    return {**content, "digest": digest_of(content)}


def is_whole(content: Mapping[str, Any]) -> bool:
    """Whether a JSON object is as it was sealed, or never was."""
    rest = {name: value for name, value in content.items() if name != "digest"}
    try:
        return "digest" not in content or content["digest"] == digest_of(rest)
    except RecursionError:
        return False


def write_bytes(path: pathlib.Path, content: bytes) -> None:
    """Writes a file whole or not at all; it is on disk on return.

    Raises:
      OSError: If it cannot be written; the file that was there is then as it was.
    """
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
    """Makes a file, or the names in a folder, survive a power failure."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def disk_failure(error: BaseException) -> int | None:
    """One of `NO_SPACE`, if that is why a library could not write; its exception may be any."""
    if isinstance(error, OSError) and error.errno in NO_SPACE:
        return error.errno
    return next((number for number in NO_SPACE if os.strerror(number) in str(error)), None)


@contextlib.contextmanager
def naming(path: pathlib.Path) -> Iterator[None]:
    """Names the file or folder in errors of writing: a full disk's has no path."""
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


def write_json(path: pathlib.Path, content: Any) -> None:
    """Writes a JSON file whole or not at all, a list of numbers in a line; on disk on return."""
    text = json.dumps(content, indent=1)
    text = _NUMBERS.sub(lambda found: f"[{' '.join(found[1].split())}]", text)
    write_bytes(path, (text + "\n").encode())


def line_of(content: Any) -> bytes:
    """JSON data as one line of a file."""
    return (json.dumps(content) + "\n").encode()


def records_path(results: str | pathlib.Path, study: str) -> pathlib.Path:
    """The file of a study's records: RESULTS/STUDY/records.jsonl.

    Raises:
      UserError: If the name of the study is not one of a single folder.
    """
    named = type(study) is str and 0 < len(study.encode(errors="replace")) <= 200
    if not named or study in (".", "..") or set("/\\\0\n") & set(study):
        raise UserError("study", study, "the name of one folder, at most 200 bytes, no /")
    return pathlib.Path(results) / study / "records.jsonl"


def append_line(path: pathlib.Path, content: Any, safe: bool = True) -> None:
    """Appends one JSON line in one write, after completing a line that a kill left torn.

    Args:
      path: The file; it is made.
      content: JSON data.
      safe: Whether the line is on disk on return.

    Raises:
      OSError: If it cannot be written.
    """
    line = line_of(content)
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


def read_lines(path: pathlib.Path) -> list[dict[str, Any]]:
    """All JSON objects of a file, one per line, that are whole; other lines are left out.

    Returns:
      No line without a file.
    """
    if not path.is_file():
        return []
    found = []
    for line in path.read_bytes().splitlines():
        try:
            value = parse_json(line)
        except ValueError:
            continue
        if isinstance(value, Mapping) and is_whole(value):
            found.append(dict(value))
    return found
