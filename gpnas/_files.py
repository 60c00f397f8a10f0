"""JSON files: written whole or not at all, and checked when they are read."""

import json
import os
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any

from gpnas.errors import UserError

MAX_DEPTH = 100  # of nested objects and lists: whoever walks them recursively is safe


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
        value = parse_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise UserError(field, str(path), f"{allowed} ({error})") from error
    if not isinstance(value, Mapping):
        raise UserError(field, str(path), f"{allowed} (not a JSON object)")
    return dict(value)


def write_bytes(path: pathlib.Path, content: bytes) -> None:
    """Writes a file whole or not at all; it is on disk on return."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(part, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    sync_folder(path.parent)


def sync_folder(folder: pathlib.Path) -> None:
    """Makes new names in a folder survive a power failure."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_json(path: pathlib.Path, content: Any) -> None:
    """Writes a JSON file whole or not at all; it is on disk on return."""
    write_bytes(path, (json.dumps(content, indent=1) + "\n").encode())


def append_line(path: pathlib.Path, content: Any) -> None:
    """Appends one JSON line in one write, after completing a line that a kill left torn."""
    line = json.dumps(content) + "\n"
    with open(path, "ab+") as file:
        if file.tell() and _last_byte(file) != b"\n":
            line = "\n" + line
        file.write(line.encode())


def _last_byte(file: Any) -> bytes:
    file.seek(-1, os.SEEK_END)
    return file.read(1)


def read_lines(path: pathlib.Path) -> list[dict[str, Any]]:
    """All JSON objects of a file, one per line; other lines are left out; none without a file."""
    if not path.exists():
        return []
    found = []
    for line in path.read_bytes().splitlines():
        try:
            value = parse_json(line)
        except ValueError:
            continue
        if isinstance(value, Mapping):
            found.append(dict(value))
    return found
