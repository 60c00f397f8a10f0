"""The folder of a run: locked by one run at a time; its files are checked."""

import contextlib
import hashlib
import pathlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from gpnas import _locks
from gpnas._files import parse_json, read_json, read_lines, sealed, write_bytes, write_json
from gpnas.data import Dataset
from gpnas.errors import UserError, check_unchanged, explained
from gpnas.train import _checkpoint
from gpnas.train._config import config_key
from gpnas.train._goodput import undone

# Files that only a run's folder has; config.json is written first.
_RESULTS = ("record.json", "metrics.jsonl", "architecture.json", "receptive.npz", "mistakes.npz")
_FOLDERS = ("tensorboard", "profile")
#: Name of a folder's lock file.
LOCK = ".lock"
_CHECKPOINTS = "checkpoints"
_OWN = re.compile(f"{_CHECKPOINTS}(-[0-9]+)*")  # with seeds if several train together
_DAMAGED = "{} as the run wrote it; if deleted, --config.resume=True recreates it"


@contextlib.contextmanager
def locked_run(workdir: pathlib.Path) -> Iterator[None]:
    """Locks a folder for one run; the lock is released when the process ends.

    Raises:
      UserError: If another run holds the lock, or the folder cannot be created.
      OSError: If the disk is full or fails.
    """
    allowed = "a folder that no other run is using"
    with _locks.locked(workdir / LOCK, field="workdir", seconds=0, allowed=allowed, required=True):
        yield


def check_workdirs(
    workdirs: Sequence[pathlib.Path], configs: Sequence[ConfigDict], data: Dataset | None = None
) -> None:
    """Checks several folders, see `check_workdir`."""
    for workdir, config in zip(workdirs, configs, strict=True):
        check_workdir(workdir, config, data)


def check_workdir(workdir: pathlib.Path, config: ConfigDict, data: Dataset | None = None) -> None:
    """Checks that a run overwrites nothing and resumes only the same run.

    Raises:
      UserError: If the folder contains another run, or the same run without `resume`, or other
        files at paths that the run writes.
    """
    for name in _FOLDERS:
        if _exists(workdir / name) and not (workdir / name).is_dir():
            raise UserError(
                "workdir", str(workdir), f"a folder in which {name} is a folder, or none"
            )
    folders = [path for path in sorted(workdir.glob("checkpoints*")) if _OWN.fullmatch(path.name)]
    for folder in folders:
        _checkpoint.check_folder(folder)
    saved = [folder.name for folder in folders if _checkpoint.steps(folder)]
    there = [name for name in ("config.json", *_RESULTS) if _exists(workdir / name)]
    if (there or saved) and not config.resume:
        allowed = f"a folder without a run in it (this one has {(there + saved)[0]})"
        raise UserError("workdir", str(workdir), f"{allowed}, or --config.resume=True")
    for name in ("config.json", "record.json"):
        if name in there:
            check_same_run(read_about(workdir / name), run_description(config, data), str(workdir))


def checkpoint_folder(workdirs: Sequence[pathlib.Path], seeds: Sequence[int]) -> pathlib.Path:
    """Returns the folder for the checkpoints of seeds that train together, one folder per seed."""
    return workdirs[0] / "-".join([_CHECKPOINTS, *map(str, seeds if len(seeds) > 1 else ())])


def seeds_together(checkpoints: pathlib.Path) -> tuple[int, ...]:
    """Returns the seeds that train together, from the name of their folder; none for one seed."""
    parts = checkpoints.name.removeprefix(_CHECKPOINTS).split("-")[1:]
    return tuple(int(part) for part in parts if part.isdecimal())


def begun_in(workdir: pathlib.Path) -> pathlib.Path | None:
    """Returns the folder with checkpoints of the run in `workdir`, or None if it has none.

    Raises:
      UserError: If the run's config.json is damaged.
    """
    path = workdir / "config.json"
    named = read_about(path).get("checkpoints") if path.exists() else None
    folder = workdir / str(named)
    return folder if named is not None and _checkpoint.steps(folder) else None


def check_begun(workdirs: Sequence[pathlib.Path], seeds: Sequence[int]) -> None:
    """Checks that unfinished runs resume with the seeds that they trained together with.

    Args:
      workdirs: One folder per seed.
      seeds: The seeds that will train together.

    Raises:
      UserError: If one of them has checkpoints with other seeds.
    """
    if _have_records(workdirs):
        return
    folder = checkpoint_folder(workdirs, seeds)
    for workdir, seed in zip(workdirs, seeds, strict=True):
        begun = begun_in(workdir)
        if begun is not None and begun.resolve() != folder.resolve():
            allowed = f"{seeds_together(begun) or (seed,)}, which {workdir} has a checkpoint of"
            raise UserError("seeds", tuple(seeds), f"{allowed}; or another workdir")


def check_has_config(workdir: pathlib.Path) -> None:
    """Refuses result files without config.json, in a folder without a checkpoint.

    Raises:
      UserError: If there are such files.
    """
    there = [name for name in _RESULTS if _exists(workdir / name)]
    if there and not (workdir / "config.json").exists():
        allowed = f"a folder with the run's config.json or checkpoint, or one without {there[0]}"
        raise UserError("workdir", str(workdir), allowed)


def finished(workdirs: Sequence[pathlib.Path]) -> list[dict[str, Any]]:
    """Returns the records of runs if all of them have finished, else an empty list."""
    done = _have_records(workdirs)
    return [read_about(workdir / "record.json") for workdir in workdirs] if done else []


def _have_records(workdirs: Sequence[pathlib.Path]) -> bool:
    return all((workdir / "record.json").exists() for workdir in workdirs)


def run_description(config: ConfigDict, data: Dataset | None) -> dict[str, Any]:
    """Returns the description of a run: its config, and the digest of its data set if known."""
    digest = {} if data is None else {"dataset_sha256": data.sha256}
    return {"config": config.to_dict(), **digest}


def read_about(path: pathlib.Path) -> dict[str, Any]:
    """Reads a run's config.json or record.json.

    Raises:
      UserError: If the file is damaged.
    """
    allowed = _DAMAGED.format(path.name)
    found = read_json(path, "workdir", allowed)
    with explained("workdir", str(path), allowed, AttributeError, KeyError, RecursionError):
        config_key(found["config"])
    return found


def check_same_run(there: Mapping[str, Any], here: Mapping[str, Any], place: str) -> None:
    """Checks that two descriptions are of the same run.

    Args:
      there: The stored description, from `run_description`.
      here: The description of the new run; data sets are compared if known.
      place: Location of the stored description, for the message.

    Raises:
      UserError: If they differ.
    """
    old, new = config_key(there["config"]), config_key(here["config"])
    if "dataset_sha256" in here:
        old["dataset_sha256"] = there.get("dataset_sha256")
        new["dataset_sha256"] = here["dataset_sha256"]
    check_unchanged(old, new, f"as the run in {place} began; or another workdir")


class Written(NamedTuple):
    """The first lines of metrics.jsonl: their number, and a digest of all of them."""

    lines: int = 0
    digest: str = ""

    def then(self, line: bytes) -> "Written":
        """Returns the value after one more line."""
        digest = hashlib.sha256(self.digest.encode() + line).hexdigest()
        return Written(self.lines + 1, digest)


def read_written(path: pathlib.Path, written: Written) -> list[dict[str, Any]] | None:
    """Returns the first lines of a metrics file if they match `written`, else None.

    Args:
      path: The file; later lines are ignored.
      written: Number and digest of the lines.
    """
    raw = path.read_bytes() if path.is_file() else b""
    lines = raw.splitlines(keepends=True)[: written.lines]
    found = Written()
    for line in lines:
        found = found.then(line)
    return [parse_json(line) for line in lines] if found == written else None


def keep_written(path: pathlib.Path, written: Written) -> list[dict[str, Any]]:
    """Truncates a metrics file to the lines of a restored run, and returns those lines.

    Raises:
      UserError: If the lines differ from those that were written.
    """
    lines = read_written(path, written)
    if lines is None:
        allowed = f"the {written.lines} lines that the run wrote, unchanged"
        raise UserError("resume", str(path), allowed)
    kept = path.read_bytes().splitlines(keepends=True)[: written.lines] if lines else []
    write_bytes(path, b"".join(kept))
    return lines


def start_run(
    workdir: pathlib.Path, known: Mapping[str, Any], written: Written
) -> tuple[list[dict[str, Any]], float]:
    """Writes the description of a run before its first step, and truncates its metrics file.

    Returns:
      The metrics lines so far, see `keep_written`, and the seconds of work to repeat.
    """
    write_json(workdir / "config.json", sealed(known))
    before = read_lines(workdir / "metrics.jsonl")
    lines = keep_written(workdir / "metrics.jsonl", written)
    return lines, undone(before, len(lines))


def _exists(path: pathlib.Path) -> bool:
    return path.exists() or path.is_symlink()
