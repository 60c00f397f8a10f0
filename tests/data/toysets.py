"""Small made data sets with raw files as the official ones have."""

import dataclasses
import gzip
import hashlib
import tarfile
from pathlib import Path

import numpy as np

from gpnas.data import Split, _cifar, _idx, _known

ROWS = {"train": 40, "test": 12}
CIFAR_ROWS = {"train": 50, "test": 20}


def splits(seed: int = 0) -> tuple[Split, Split]:
    """Train and test, (N, 6, 5, 1), two classes."""
    rng = np.random.default_rng(seed)
    return tuple(
        Split(
            rng.integers(0, 256, (n, 6, 5, 1), dtype=np.uint8),
            rng.integers(0, 2, n).astype(np.int32),
        )
        for n in ROWS.values()
    )


def toy_known(seed: int = 0, **changes) -> _known.KnownDataset:
    """A known set `mnist` whose content is `splits(seed)`; no address answers."""
    return dataclasses.replace(
        _known.KNOWN["mnist"],
        shape=(6, 5, 1),
        rows=ROWS,
        class_names=("even", "odd"),
        sha256={part: hashlib.sha256(content).hexdigest() for part, content in idx(seed).items()},
        address="http://127.0.0.1:9/",
        **changes,
    )


def idx(seed: int = 0) -> dict[str, bytes]:
    """`splits(seed)` as the four idx files, by part."""
    train, test = splits(seed)
    arrays = (train.inputs[..., 0], train.targets, test.inputs[..., 0], test.targets)
    return {
        part: _idx.header(array.shape) + array.astype(np.uint8).tobytes()
        for part, array in zip(_known.PARTS, arrays, strict=True)
    }


def write_idx(folder: Path, seed: int = 0, compress: bool = True) -> list[Path]:
    """Writes `splits(seed)` as the four idx files; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for part, content in idx(seed).items():
        name = _known.KNOWN["mnist"].files[part][0]
        paths.append(folder / (f"{name}.gz" if compress else name))
        paths[-1].write_bytes(gzip.compress(content) if compress else content)
    return paths


def cifar_batches(folder: Path) -> tuple[_known.KnownDataset, np.ndarray]:
    """Writes small binary batches and the archive of them; returns the set and all records."""
    rng = np.random.default_rng(1)
    n = sum(CIFAR_ROWS.values())
    records = rng.integers(0, 256, (n, 3073), dtype=np.uint8)
    records[:, 0] = np.arange(n) % 10
    here = folder / _cifar.FOLDER
    here.mkdir(parents=True)
    for number in range(5):
        records[number * 10 : number * 10 + 10].tofile(here / f"data_batch_{number + 1}.bin")
    records[50:].tofile(here / "test_batch.bin")
    mean = records[:50, 1:].reshape(-1, 3, 1024).mean(axis=(0, 2))
    toy = dataclasses.replace(
        _known.KNOWN["cifar10"],
        rows=CIFAR_ROWS,
        train_mean=tuple(mean.tolist()),
        address="http://127.0.0.1:9/",
    )
    return toy, records


def archive(folder: Path, to: Path) -> str:
    """Packs the batches below `folder` as the official archive does; returns its SHA-256."""
    path = to / _known.CIFAR_ARCHIVE
    with tarfile.open(path, "w:gz") as file:
        file.add(folder / _cifar.FOLDER, _cifar.FOLDER)
    return hashlib.sha256(path.read_bytes()).hexdigest()
