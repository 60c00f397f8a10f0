"""Sources of a known data set's raw files, tried in order; collects reasons of failures."""

import os
import tempfile
from pathlib import Path

from absl import logging

from gpnas.data import _fetch, _raw
from gpnas.data._dataset import Split
from gpnas.data._known import CIFAR_ARCHIVE, PARTS, KnownDataset
from gpnas.errors import UserError


def tfds_data_dir() -> Path:
    """Returns TFDS's folder (read-only): TFDS_DATA_DIR, or `~/tensorflow_datasets`."""
    return Path(os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser()


def raw_files(known: KnownDataset, raw_dir: Path) -> list[Path]:
    """Returns the raw files in a folder given by the user.

    Raises:
      UserError: If a file is missing.
    """
    paths, missing = _raw.locate(known, raw_dir)
    if missing:
        raise UserError(
            "data.raw_dir", str(raw_dir), f"a folder that holds {', '.join(missing)} ({known.name})"
        )
    return paths


def obtain(known: KnownDataset, data_dir: Path, download: bool, reason: str) -> tuple[Split, Split]:
    """Reads a data set's raw files from the first source that has them.

    Args:
      known: The data set.
      data_dir: TFDS's folder; its manual downloads are searched.
      download: Whether to use the network.
      reason: Why no prepared data were found.

    Returns:
      Train and test in their official order.

    Raises:
      UserError: If no source has the files; the message lists each source and its failure. Also if
        a local file is damaged: other sources are then not tried.
    """
    manual, reasons = data_dir / "downloads/manual", [reason]
    folders = [manual / known.name, manual]
    if known.debian_folder:
        folders.append(Path(known.debian_folder))
    empty = []
    for folder in folders:
        paths, missing = _raw.locate(known, folder)
        if not missing:
            logging.info("%s: reading raw files in %s", known.name, folder)
            return _raw.read_raw(known, paths)
        if paths:
            reasons.append(f"{folder} lacks {', '.join(missing)}")
        else:
            empty.append(str(folder))
    if empty:
        reasons.append(f"no raw files in {', '.join(empty)}")
    found = _download(known, reasons) if download else None
    if found:
        return found
    if not download:
        reasons.append("download=False")
    raise UserError(
        "data.name",
        known.name,
        "a data set that is prepared by TFDS as array_record, or whose official files are in "
        f"data.raw_dir or can be downloaded. Tried: {'; '.join(reasons)}",
    )


def _download(known: KnownDataset, reasons: list[str]) -> tuple[Split, Split] | None:
    """Tries the Debian package, then the official address; returns None if neither works."""
    patience = _fetch.Patience()
    with tempfile.TemporaryDirectory(prefix="gpnas-", ignore_cleanup_errors=True) as temporary:
        folder = Path(temporary)
        for place in ("Debian", "the official address"):
            here = folder / place.split()[-1]
            here.mkdir()
            try:
                files = _from_debian(known, here, patience) if place == "Debian" else None
                if place != "Debian":
                    files = _from_official(known, here, patience)
                if files is not None:
                    logging.info("%s: downloaded from %s", known.name, place)
                    return _raw.read_raw(known, raw_files(known, files))
            except (_fetch.FetchError, UserError, OSError) as error:
                reason = " ".join(f"{place}: {error}".split())
                logging.warning("%s: %s", known.name, reason)
                reasons.append(reason)
    return None


def _from_debian(known: KnownDataset, folder: Path, patience: _fetch.Patience) -> Path | None:
    """Downloads the Debian package of the data set; returns None if there is no such package."""
    if not known.debian_package or not known.debian_folder:
        return None
    root = _fetch.debian(known.debian_package, folder, patience)
    return root / Path(known.debian_folder).relative_to("/")


def _from_official(known: KnownDataset, folder: Path, patience: _fetch.Patience) -> Path:
    """Downloads the official files."""
    if known.layout == "cifar":
        names = [CIFAR_ARCHIVE]
    else:
        names = [f"{known.files[part][0]}.gz" for part in PARTS]
    _fetch.official(known.address, names, folder, patience)
    return folder
