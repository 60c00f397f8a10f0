"""CIFAR-10: the binary version, 3,073 bytes per record. (The pickled version is never read.)"""

import hashlib
import tarfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gpnas.data._known import KnownDataset
from gpnas.errors import UserError, explained

_HEIGHT, _WIDTH, _CHANNELS = 32, 32, 3
_RECORD = 1 + _HEIGHT * _WIDTH * _CHANNELS
_MEAN_TOLERANCE = 1e-4  # relative to 255; JPEG-compressed copies differ by 1e-2
FOLDER = "cifar-10-batches-bin"
PICKLES = ("cifar-10-batches-py", "cifar-10-python.tar.gz", "data_batch_1")


def parse_records(content: bytes) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Splits whole records into images, uint8, (N, 32, 32, 3), and labels, uint8, (N,)."""
    records = np.frombuffer(content, np.uint8).reshape(-1, _RECORD)
    planes = records[:, 1:].reshape(-1, _CHANNELS, _HEIGHT, _WIDTH)
    return np.ascontiguousarray(planes.transpose(0, 2, 3, 1)), records[:, 0].copy()


def read_files(paths: Sequence[Path], rows: int) -> bytes:
    """Reads binary batches that together must have `rows` records.

    Args:
      paths: The files in order, of equal length.
      rows: Total number of records.

    Returns:
      Their concatenated content.

    Raises:
      UserError: If a file cannot be read or has another length.
    """
    size = rows // len(paths) * _RECORD
    parts = []
    for path in paths:
        readable = explained("data.raw_dir", str(path), "a readable file", OSError)
        with readable, path.open("rb") as file:
            parts.append(file.read(size + 1))
        if len(parts[-1]) != size:
            raise UserError("data.raw_dir", str(path), f"a CIFAR-10 binary batch of {size} bytes")
    return b"".join(parts)


def read_tar(path: Path, names: Sequence[str], rows: int) -> bytes:
    """Reads batches from the official archive without extracting it to disk.

    Args:
      path: `cifar-10-binary.tar.gz`.
      names: File names of the batches in the archive's folder, in order, of equal length.
      rows: Total number of records.

    Returns:
      Their concatenated content.

    Raises:
      UserError: If the archive cannot be read or lacks a batch, or if a batch has another length.
    """
    size = rows // len(names) * _RECORD
    parts: dict[str, bytes] = {}
    broken = (OSError, EOFError, zlib.error, tarfile.TarError)
    readable = explained("data.raw_dir", str(path), "a readable archive", *broken)
    with readable, tarfile.open(path, "r:gz") as archive:
        for member in archive:
            name = member.name.removeprefix("./")
            if name not in {f"{FOLDER}/{wanted}" for wanted in names}:
                continue
            file = archive.extractfile(member) if member.isreg() else None
            if file is None or member.size != size:
                raise UserError("data.raw_dir", f"{path}:{name}", f"a batch of {size} bytes")
            parts[name.removeprefix(f"{FOLDER}/")] = file.read(size)
    missing = [name for name in names if name not in parts]
    if missing:
        raise UserError("data.raw_dir", str(path), f"an archive that holds {FOLDER}/{missing[0]}")
    return b"".join(parts[name] for name in names)


def check_archive(path: Path, sha256: str) -> None:
    """Compares the archive's digest with the official one.

    Raises:
      UserError: If they differ, or the file cannot be read.
    """
    readable = explained("data.raw_dir", str(path), "a readable file", OSError)
    with readable, path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256:
        raise UserError("data.raw_dir", str(path), f"an archive with sha256 {sha256}, not {found}")


def check_statistics(
    known: KnownDataset,
    split: str,
    mean: npt.NDArray[np.float64],
    labels: npt.NDArray[np.int32],
    where: str,
    field: str,
) -> None:
    """Checks further properties of CIFAR-10: equal class sizes, and channel means of `train`.

    Args:
      known: The data set.
      split: `train` or `test`.
      mean: float64, (3,), channel means of the split's images, 0 to 255.
      labels: int32, (N,).
      where: Location, for the message.
      field: Argument that selected the location, for the message.

    Raises:
      UserError: If either differs: the files are another data set or a lossy copy.
    """
    classes = len(known.class_names)
    counts = np.bincount(labels, minlength=classes)
    if len(counts) != classes or np.any(counts * classes != len(labels)):
        text = f"{known.name}, whose {split} has all {classes} classes equally often"
        raise UserError(field, where, text)
    if split == "train" and not np.allclose(mean, known.train_mean, rtol=0, atol=_MEAN_TOLERANCE):
        text = f"{known.name}, whose channel means are {known.train_mean}, not {mean.tolist()}"
        raise UserError(field, where, text)
