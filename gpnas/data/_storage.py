"""Files that processes share: locks, folders that appear whole or not at all, fingerprints."""

import contextlib
import errno
import fcntl
import hashlib
import os
import shutil
import time
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path

from absl import logging

from gpnas._files import NO_SPACE, disk_failure
from gpnas.errors import UserError

_STALE_SECONDS = 24 * 3600
_TEMPORARY = ".tmp-"


@contextlib.contextmanager
def locked(path: Path, *, field: str, seconds: float = 600.0) -> Iterator[None]:
    """Holds an exclusive lock that ends with the process, however it ends.

    Args:
      path: The lock file; it is made, and stays.
      field: The argument that chose the place, for messages.
      seconds: How long to wait for another process.

    Raises:
      UserError: The file cannot be made, or the wait was too long.
      OSError: The disk is full or fails.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_CREAT | os.O_RDWR, 0o666)
    except OSError as error:
        if error.errno in NO_SPACE:
            raise
        raise UserError(
            field, str(path.parent), f"a folder that can be written ({error})"
        ) from error
    try:
        _wait_for(handle, path, field, seconds)
        yield
    finally:
        os.close(handle)


def _wait_for(handle: int, path: Path, field: str, seconds: float) -> None:
    """Takes the lock on an open file, see `locked`."""
    start = time.monotonic()
    told = False
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError as error:
            if time.monotonic() - start > seconds:
                raise UserError(
                    field, str(path), f"a lock that another process frees within {seconds:.0f} s"
                ) from error
        except OSError as error:  # A file system without locks: writing stays atomic.
            logging.warning("no lock on %s (%s): continuing without", path, error)
            return
        if not told:
            logging.info("waiting for another process that holds %s", path)
            told = True
        time.sleep(0.05)


@contextlib.contextmanager
def new_folder(parent: Path, *, field: str) -> Iterator[Path]:
    """Yields an empty temporary folder inside `parent`, gone at the end unless it was renamed.

    Remains of processes that were killed more than a day ago are removed.

    Args:
      parent: Where; it is made.
      field: The argument that chose the place, for messages.

    Raises:
      UserError: The place cannot be written.
      OSError: The disk is full or fails; it names `parent`.
    """
    folder = parent / f"{_TEMPORARY}{os.getpid()}-{uuid.uuid4().hex}"
    try:
        folder.mkdir(parents=True)
        for old in parent.glob(f"{_TEMPORARY}*"):
            if time.time() - old.stat().st_mtime > _STALE_SECONDS:
                shutil.rmtree(old, ignore_errors=True)
        yield folder
    except Exception as error:  # array_record has exceptions of its own
        number = disk_failure(error)
        if number is not None:
            raise OSError(number, os.strerror(number), str(parent)) from error
        denied = (errno.EACCES, errno.EPERM, errno.EROFS)
        if isinstance(error, OSError) and (error.errno in denied or not parent.is_dir()):
            raise UserError(
                field, str(parent), f"a folder that can be written ({error})"
            ) from error
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def publish(folder: Path, final: Path) -> bool:
    """Renames a finished folder to its final name, in one step.

    Args:
      folder: What is finished.
      final: Its name from now on.

    Returns:
      False if there is something of that name already: then nothing was done.
    """
    try:
        os.rename(folder, final)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            return False
        raise
    return True


def fingerprint(paths: Iterable[Path], root: Path) -> str:
    """A cheap digest of files: sorted paths below `root`, sizes and modification times in ns.

    Raises:
      OSError: A file is gone.
    """
    digest = hashlib.sha256()
    for path in sorted(paths):
        status = path.stat()
        line = f"{os.path.relpath(path, root)}\0{status.st_size}\0{status.st_mtime_ns}\n"
        digest.update(line.encode(errors="surrogateescape"))
    return digest.hexdigest()
