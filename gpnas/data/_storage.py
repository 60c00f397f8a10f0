"""Files: folders that appear whole or not at all, fingerprints, large arrays of no name."""

import contextlib
import errno
import hashlib
import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gpnas._files import NO_SPACE, naming
from gpnas.errors import UserError

_STALE_SECONDS = 24 * 3600
_TEMPORARY = ".tmp-"
IN_MEMORY = 1 << 30  # bytes up to which an array is made in memory


@contextlib.contextmanager
def new_folder(parent: Path) -> Iterator[Path]:
    """Yields an empty temporary folder inside `parent`, gone at the end unless it was renamed.

    Remains of processes that were killed more than a day ago are removed.

    Args:
      parent: Where; it is made. Messages name `data.cache_dir`.

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
    except OSError as error:
        if error.errno in NO_SPACE:
            raise OSError(error.errno, error.strerror, str(parent)) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS) or not parent.is_dir():
            allowed = f"a folder that can be written ({error})"
            raise UserError("data.cache_dir", str(parent), allowed) from error
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


def new_array(folder: Path, shape: tuple[int, ...], dtype: Any) -> npt.NDArray[Any]:
    """An array to be filled: in memory, or, of more than 1 GiB, mapped from a file without a name.

    The system removes such a file with the array, or when the process ends in whichever way.

    Args:
      folder: Where the file is; it is made.
      shape, dtype: Of the array.

    Raises:
      UserError: The folder cannot be written.
      OSError: The disk has no room.
    """
    size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
    if size <= IN_MEMORY:
        return np.empty(shape, dtype)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115
    except OSError as error:
        allowed = f"a folder that can be written ({error.strerror})"
        raise UserError("data.cache_dir", str(folder), allowed) from error
    with file, naming(folder):
        os.posix_fallocate(file.fileno(), 0, size)  # else a full disk would end the process later
        return np.memmap(file, dtype, "r+", shape=shape)
