"""File locks between processes."""

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from absl import logging

from gpnas._files import NO_SPACE, writing_to
from gpnas.errors import UserError


class InUse(UserError):
    """Raised when another process holds a lock."""


@contextlib.contextmanager
def locked(
    path: Path, *, field: str, seconds: float = 600.0, allowed: str = "", required: bool = False
) -> Iterator[None]:
    """Holds an exclusive lock, which the system releases when the process ends.

    Args:
      path: The lock file. It is created, with its folder, and is not removed.
      field: The argument that chose the path, for messages.
      seconds: Maximum wait for another process; 0 fails immediately.
      allowed: The message after a timeout; by default, it states the wait.
      required: Whether a file system without locks is an error; otherwise a warning is logged.

    Raises:
      InUse: If another process holds the lock for too long.
      UserError: If the file cannot be created; or locks are required and the file system has none.
      OSError: If the disk is full or fails.
    """
    with writing_to(path.parent, field):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_CREAT | os.O_RDWR, 0o666)
    try:
        wait = f"a folder whose lock {path.name} another process frees within {seconds:.0f} s"
        _acquire(handle, path, field, seconds, allowed or wait, required)
        yield
    finally:
        os.close(handle)


def _acquire(
    handle: int, path: Path, field: str, seconds: float, allowed: str, required: bool
) -> None:
    """Acquires the lock on an open file, see `locked`."""
    end = time.monotonic() + seconds
    waiting = False
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError as error:
            if time.monotonic() >= end:
                raise InUse(field, str(path.parent), allowed) from error
        except OSError as error:
            if required and error.errno in NO_SPACE:
                raise
            if required:
                allowed = f"a folder on a file system with locks ({error.strerror})"
                raise UserError(field, str(path.parent), allowed) from error
            logging.warning("no lock on %s (%s): continuing without", path, error)
            return
        if not waiting:
            logging.info("waiting for another process that holds %s", path)
            waiting = True
        time.sleep(0.05)
