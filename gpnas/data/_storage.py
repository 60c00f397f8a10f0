"""Files: atomically created folders, fingerprints, and large arrays in unnamed files."""

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
from gpnas.errors import UserError, explained

_STALE_SECONDS = 24 * 3600
_TEMPORARY = ".tmp-"
IN_MEMORY = 1 << 30  # bytes; larger arrays are mapped from a file


@contextlib.contextmanager
def new_folder(parent: Path) -> Iterator[Path]:
    """Yields an empty temporary folder in `parent`, removed at the end unless it was renamed.

    Folders left by processes that were killed more than a day ago are removed.

    Args:
      parent: Parent folder; created if missing. Messages name `data.cache_dir`.

    Raises:
      UserError: If the folder cannot be written.
      OSError: If the disk is full or fails; the error names `parent`.
    """
    folder = parent / f"{_TEMPORARY}{os.getpid()}-{uuid.uuid4().hex}"
    try:
        folder.mkdir(parents=True)
        for old in parent.glob(f"{_TEMPORARY}*"):
            with contextlib.suppress(FileNotFoundError):  # another process has just renamed it
                if time.time() - old.lstat().st_mtime > _STALE_SECONDS:
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
    """Renames a finished folder to its final name, atomically.

    Args:
      folder: The finished folder.
      final: Its final name.

    Returns:
      False, without any effect, if the final name already exists.
    """
    try:
        os.rename(folder, final)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            return False
        raise
    return True


def fingerprint(paths: Iterable[Path], root: Path) -> str:
    """Returns a cheap digest of files: the folder, sorted paths below it, sizes, times in ns.

    The folder is part of it, since other files may have the same names, sizes and times.

    Raises:
      OSError: If a file does not exist.
    """
    digest = hashlib.sha256(f"{root.absolute()}\n".encode(errors="surrogateescape"))
    for path in sorted(paths):
        status = path.stat()
        line = f"{os.path.relpath(path, root)}\0{status.st_size}\0{status.st_mtime_ns}\n"
        digest.update(line.encode(errors="surrogateescape"))
    return digest.hexdigest()


def reserve_space(handle: int, size: int) -> None:
    """Extends an open file to `size` bytes; writing to its map on a full disk kills the process.

    A system that cannot reserve the space (macOS) only checks that it is free.

    Raises:
      OSError: If the disk has too little space.
    """
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(handle, 0, size)
        return
    disk = os.fstatvfs(handle)
    if disk.f_bavail * disk.f_frsize < size:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    os.ftruncate(handle, size)


def new_array(folder: Path, shape: tuple[int, ...], dtype: Any) -> npt.NDArray[Any]:
    """Creates an array: in memory, or, above 1 GiB, mapped from an unnamed file.

    The system deletes such a file together with the array, or when the process ends for any reason.

    Args:
      folder: Folder of the file; created if missing.
      shape, dtype: Shape and dtype of the array.

    Raises:
      UserError: If the folder cannot be written.
      OSError: If the disk has too little space.
    """
    size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
    if size <= IN_MEMORY:
        return np.empty(shape, dtype)
    with explained("data.cache_dir", str(folder), "a folder that can be written", OSError):
        folder.mkdir(parents=True, exist_ok=True)
        file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115
    with file, naming(folder):
        reserve_space(file.fileno(), size)
        return np.memmap(file, dtype, "r+", shape=shape)
