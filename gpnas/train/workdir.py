"""The run's folder: one run at a time, metrics that survive a kill, what the report reads."""

import contextlib
import fcntl
import json
import pathlib
from collections.abc import Iterator
from typing import Any

from gpnas._files import read_lines, write_bytes
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


def keep_lines(path: pathlib.Path, last_step: int) -> list[dict[str, Any]]:
    """Cuts a metrics file back to what a restored run knows, and returns those lines."""
    lines = [line for line in read_lines(path) if line["step"] <= last_step]
    write_bytes(path, "".join(json.dumps(line) + "\n" for line in lines).encode())
    return lines
