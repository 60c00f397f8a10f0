"""Reads records of runs from work directories, their parents and `records.jsonl` files.

A work directory with `record.json` belongs to a finished run. Otherwise the run was killed or is
still running, and `metrics.jsonl` has its log. Unreadable files in a directory are skipped with a
message in `Loaded.warnings`; a missing input is an error.
"""

import dataclasses
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from gpnas._files import PathLike, printable
from gpnas._no_effect import without_effect
from gpnas.errors import UserError
from gpnas.report import _files, formatting
from gpnas.report._files import Mistakes, Receptive, json_file, json_lines
from gpnas.report._metric import ERROR, TaskMetric, metric_of
from gpnas.report._read_front import FRONT, Front, distinct, read_front

_ALLOWED = (
    "a work directory, a parent of work directories, a study directory, the folder of a front or a"
    " records.jsonl"
)
_WORKDIR_FILES = ("record.json", "metrics.jsonl", "config.json")
_LINE = re.compile(r"(.*), line (\d+)(.*)")  # a warning about a line of a file

Data = tuple[str, str]  # name and digest of a data set; "" if unknown
Problem = tuple[Data, TaskMetric]  # runs of one problem are comparable


@dataclasses.dataclass(frozen=True, eq=False)
class Run:
    """A training run, finished or not.

    Attributes:
      name: Short name of its source: a directory's name or `records.jsonl:3`.
      study: The study it belongs to.
      arm: The arm of the study.
      seed: The seed; None if unknown.
      config: The config as nested mappings.
      record: The final record; None for an unfinished run.
      train: Training lines of `metrics.jsonl`; only if the record has no curve.
      validation: Validation lines of `metrics.jsonl`, in order of steps.
      total_steps: Planned number of steps; None if unknown.
      receptive: Receptive field of the first layer, or None.
      mistakes: Misclassified test images, or None.
      data: The data set.
      metric: The metric of its task.
      folder: Its work directory; None for a line of a file.
    """

    name: str
    study: str
    arm: str
    seed: int | None
    config: Mapping[str, Any]
    record: Mapping[str, Any] | None = None
    train: tuple[Mapping[str, Any], ...] = ()
    validation: tuple[Mapping[str, Any], ...] = ()
    total_steps: int | None = None
    receptive: Receptive | None = None
    mistakes: Mistakes | None = None
    data: Data = ("", "")
    metric: TaskMetric = ERROR
    folder: Path | None = None

    @property
    def problem(self) -> Problem:
        """The data set and the metric."""
        return self.data, self.metric

    @property
    def finished(self) -> bool:
        """Whether the run has a final record."""
        return self.record is not None

    @property
    def is_search(self) -> bool:
        """Whether this is an architecture search, not a training run."""
        return _is_search(self.record)

    @property
    def searched(self) -> tuple[Any, ...]:
        """Settings that comparable searches share; empty for a training run."""
        if not self.is_search:
            return ()
        space = formatting.leaf(self.config.get("space"))
        names = (
            tuple(formatting.strings(self.config, field)) for field in ("objectives", "reports")
        )
        return space, self.data, *names

    @property
    def last_step(self) -> int:
        """The last logged step."""
        steps = [formatting.number(row, "step") or 0 for row in (*self.train, *self.validation)]
        return int(max(steps, default=0))


@dataclasses.dataclass(frozen=True, eq=False)
class Loaded:
    """Runs and fronts that were read, and warnings about unreadable ones.

    Attributes:
      runs: In order of reading, without duplicates and without the runs of fronts.
      warnings: Sentences for the reader of the report.
      fronts: Fronts of networks.
    """

    runs: tuple[Run, ...]
    warnings: tuple[str, ...] = ()
    fronts: tuple[Front, ...] = ()


def read_runs(inputs: Iterable[PathLike]) -> Loaded:
    """Reads all runs and fronts in the given folders and files.

    Args:
      inputs: Work directories, directories with work directories or studies one or two levels
        down, folders of fronts, or files with one record per line.

    Returns:
      The runs, and warnings about lines and files that could not be read.

    Raises:
      UserError: An input does not exist, cannot be read or leads to no run.
    """
    paths = [Path(item) for item in inputs]
    if not paths:
        raise UserError("inputs", "", _ALLOWED)
    runs: list[Run] = []
    fronts: dict[Path, Front] = {}
    warnings: list[str] = []
    for path in paths:
        known = len(warnings)
        own = [place for place in _places(path) if (place / FRONT).is_file()]
        read = {place.resolve(): read_front(place, warnings) for place in own}
        fronts |= {place: front for place, front in read.items() if front is not None}
        found = list(_read_input(path, warnings))
        if not found and not any(read.values()):
            why = f" ({warnings[known]})" if warnings[known:] else ""
            raise UserError("inputs", str(path), f"{_ALLOWED}, holding at least one run{why}")
        runs.extend(found)
    kept, own_fronts = _without_repetitions(runs, warnings), distinct(fronts.values(), warnings)
    return Loaded(tuple(kept), tuple(_merged(warnings)), own_fronts)


def _merged(warnings: Iterable[str]) -> list[str]:
    """Returns each warning once; merges warnings about lines of a file with the same problem."""
    lines: dict[tuple[str, str], list[int]] = {}
    for warning in dict.fromkeys(map(printable, warnings)):
        found = _LINE.fullmatch(warning)
        where, line, fault = found.groups() if found else (warning, "0", "")
        lines.setdefault((where, fault), []).append(int(line))
    return [
        where
        if not fault
        else f"{where}, line {own[0]}{fault}"
        if len(own) == 1
        else f"{where}, {len(own):,} lines from {own[0]} to {own[-1]}{fault}"
        for (where, fault), own in lines.items()
    ]


def _read_input(path: Path, warnings: list[str]) -> Iterator[Run]:
    try:
        if path.is_dir():
            for place in _places(path):
                if (place / FRONT).is_file():
                    continue
                if place.is_dir():
                    yield _read_workdir(place, warnings)
                else:
                    yield from _read_records(place, warnings)
        elif path.name in _WORKDIR_FILES and path.is_file():
            yield _read_workdir(path.parent, warnings)
        elif path.is_file():
            yield from _read_records(path, warnings)
        else:
            raise UserError("inputs", str(path), f"{_ALLOWED}, that exists")
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise UserError("inputs", str(path), f"a readable path ({reason})") from error


def _places(root: Path) -> list[Path]:
    """Returns work directories, fronts and files of records, up to two levels below `root`."""
    found: list[Path] = []
    level = [root] if root.is_dir() else []
    for _ in range(3):
        below: list[Path] = []
        for folder in level:
            if any((folder / name).is_file() for name in (FRONT, "record.json", "metrics.jsonl")):
                found.append(folder)
                continue
            if (folder / "records.jsonl").is_file():
                found.append(folder / "records.jsonl")
            elif (folder / "config.json").is_file():
                found.append(folder)
                continue
            below.extend(sorted(child for child in folder.iterdir() if child.is_dir()))
        level = below
    return found


def _read_records(path: Path, warnings: list[str]) -> Iterator[Run]:
    where = f"{path.parent.name}/{path.name}" if path.parent.name else path.name
    for line, record in json_lines(path, where, warnings):
        if not _is_record(record):
            warnings.append(f"{where}, line {line}: not a record of a run; left out.")
            continue
        yield _run(f"{where}:{line}", record, {}, path.parent.name, warnings)


def _read_workdir(path: Path, warnings: list[str]) -> Run:
    config = json_file(path / "config.json", "left out", warnings) or {}
    unfinished = "the run is shown as unfinished"
    record = json_file(path / "record.json", unfinished, warnings)
    if record is not None and not _is_record(record):
        warnings.append(f"{path.name}/record.json: not a record; {unfinished}.")
        record = None
    rows: dict[str, list[Mapping[str, Any]]] = {"train": [], "validation": []}
    metrics = path / "metrics.jsonl"
    if metrics.is_file():
        keep_train = not formatting.items(record, "curve")
        where = f"{path.name}/metrics.jsonl"
        for line, row in json_lines(metrics, where, warnings):
            split = row.get("split")
            if formatting.number(row, "step") is None or split not in [*rows]:
                warnings.append(f"{where}, line {line}: no step or split; left out.")
            elif keep_train or split == "validation":
                _append(rows[split], row)
    run = _run(path.name, record, config, path.parent.name, warnings)
    return dataclasses.replace(
        run,
        folder=path.resolve(),
        train=tuple(rows["train"]),
        validation=tuple(rows["validation"]),
        receptive=_files.read_receptive(path / "receptive.npz", warnings),
        mistakes=_files.read_mistakes(path / "mistakes.npz", warnings),
    )


def _append(rows: list[Mapping[str, Any]], row: Mapping[str, Any]) -> None:
    """Appends a line after dropping lines that a resumed run repeats."""
    while rows and (formatting.number(rows[-1], "step") or 0) >= (
        formatting.number(row, "step") or 0
    ):
        rows.pop()
    rows.append(row)


def _run(
    name: str,
    record: Mapping[str, Any] | None,
    config: Mapping[str, Any],
    parent: str,
    warnings: list[str],
) -> Run:
    """Builds a run; fields come from the record, else from `config.json`, else from its path."""
    name, parent = printable(name), printable(parent)
    source = {**config, **(record or {})}
    seed = formatting.number(source, "seed")
    inner = source.get("config")
    total = formatting.number(config, "total_steps") or formatting.number(record, "total_steps")
    metric = metric_of(source)
    if metric is None:
        warnings.append(f"{name}: the record's metric cannot be read; its results are missing.")
    return Run(
        name=name,
        study=str(source.get("study") or parent or "study"),
        arm=str(source.get("arm") or name),
        seed=None if seed is None else int(seed),
        config=inner if isinstance(inner, Mapping) else {},
        data=_data(source),
        record=record,
        total_steps=None if total is None else int(total),
        metric=metric or TaskMetric("unknown", ""),
    )


def _data(source: Mapping[str, Any]) -> Data:
    """Returns the data set that a record or `config.json` names."""
    inner = source.get("config")
    stated = (formatting.dig(inner, "data"), formatting.dig(inner, "dataset"))
    names = (source.get("dataset"), formatting.dig(inner, "data", "name"), *stated)
    digest = source.get("dataset_sha256")
    name = next((name for name in names if name and isinstance(name, str)), "")
    return name, digest if isinstance(digest, str) else ""


def _is_record(value: Any) -> bool:
    is_result = isinstance(value.get("metrics"), Mapping) or _is_search(value)
    return is_result and bool(value.get("arm"))


def _is_search(value: Any) -> bool:
    """Returns whether a record has a search's objectives and trajectory."""
    return bool(formatting.items(value, "course")) and bool(
        formatting.strings(value, "config", "objectives")
    )


def own_config(run: Run) -> dict[str, str]:
    """Returns a run's flat config without seeds, workdir and fields that affect no result."""
    flat = formatting.flatten(run.config)
    return {
        name: value
        for name, value in flat.items()
        if name not in ("seed", "workdir") and not without_effect(name)
    }


def series_key(run: Run) -> tuple[str, str, str]:
    """Returns a key that is equal for runs on the same data that differ in the seed only."""
    return run.study, run.arm, json.dumps(own_config(run), sort_keys=True)


def _without_repetitions(runs: list[Run], warnings: list[str]) -> list[Run]:
    """Keeps one run per config and seed; a study's file often duplicates its work directories."""
    kept: dict[object, Run] = {}
    for run in runs:
        key: object = (*series_key(run), run.problem, run.seed) if run.finished else run.folder
        if run.finished and run.seed is None:
            key = object()
        other = kept.get(key)
        if other is None:
            kept[key] = run
        elif not run.finished:  # the same folder in two inputs
            continue
        elif other.record == run.record:
            richer = max(other, run, key=lambda r: (len(r.validation), r.receptive is not None))
            kept[key] = richer
        else:
            kept[key] = run
            warnings.append(
                f"{formatting.shorten(run.study, 60)}, {formatting.shorten(run.arm, 60)}, "
                f"seed {run.seed}: "
                "two different records with the same config; "
                f"kept {run.name}, left out {other.name}."
            )
    return list(kept.values())
