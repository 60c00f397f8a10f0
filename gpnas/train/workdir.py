"""The run's folder: one run at a time, metrics that survive a kill, what the report reads."""

import contextlib
import fcntl
import json
import os
import pathlib
from collections.abc import Iterator
from typing import Any

from gpnas.errors import UserError


@contextlib.contextmanager
def locked(workdir: pathlib.Path) -> Iterator[None]:
    """Holds a folder for one run; the lock dies with the process.

    Raises:
      UserError: If another run holds it, or it cannot be made.
    """
    with contextlib.ExitStack() as stack:
        try:
            workdir.mkdir(parents=True, exist_ok=True)
            handle = stack.enter_context(open(workdir / ".lock", "w"))
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(
                "workdir", str(workdir), "a folder that no other run is using"
            ) from error
        except OSError as error:
            raise UserError(
                "workdir", str(workdir), f"a folder that can be written ({error.strerror})"
            ) from error
        yield


def write_json(path: pathlib.Path, content: Any) -> None:
    """Writes a JSON file whole or not at all."""
    part = path.with_name(f".{path.name}.part")
    part.write_text(json.dumps(content, indent=1) + "\n")
    os.replace(part, path)


def append_line(path: pathlib.Path, content: Any) -> None:
    """Appends one JSON line in one write, after mending a line that a kill left torn."""
    line = json.dumps(content) + "\n"
    with open(path, "ab+") as file:
        if file.tell() and _last_byte(file) != b"\n":
            line = "\n" + line
        file.write(line.encode())


def _last_byte(file: Any) -> bytes:
    file.seek(-1, os.SEEK_END)
    return file.read(1)


def read_lines(path: pathlib.Path) -> list[dict[str, Any]]:
    """All the whole JSON lines of a file; a torn one is left out; none if there is no file."""
    lines = []
    for line in path.read_text().splitlines() if path.exists() else []:
        with contextlib.suppress(json.JSONDecodeError):
            lines.append(json.loads(line))
    return lines


def keep_lines(path: pathlib.Path, last_step: int) -> list[dict[str, Any]]:
    """Cuts a metrics file back to what a restored run knows, and returns those lines."""
    lines = [line for line in read_lines(path) if line["step"] <= last_step]
    part = path.with_name(f".{path.name}.part")
    part.write_text("".join(json.dumps(line) + "\n" for line in lines))
    os.replace(part, path)
    return lines
