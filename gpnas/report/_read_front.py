"""Reads fronts of networks from one run: front.json and exported files."""

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gpnas._files import printable
from gpnas._no_effect import without_effect
from gpnas.report import formatting
from gpnas.report._files import json_file
from gpnas.report._metric import TaskMetric, metric_of

FRONT = "front.json"
_OF_ONE = ("seed", "method.table")  # the latencies of its own layers


@dataclasses.dataclass(frozen=True, eq=False)
class Front:
    """A front of networks.

    Attributes:
      name: Name of its folder.
      record: Content of front.json.
      metric: Metric of the task.
      widths: Widths over the main run: "step", and "units" by group.
      files: Exported files of each network: names and paths, by folder name.
      latency: `(batch size, threads) → ms`, by folder name; "main" is the whole network.
      format: Format of the timed files; empty if none were timed.
    """

    name: str
    record: Mapping[str, Any]
    metric: TaskMetric
    widths: Sequence[Mapping[str, Any]]
    files: Mapping[str, tuple[tuple[str, Path], ...]]
    latency: Mapping[str, Mapping[tuple[int, int], float]]
    format: str

    @property
    def series_key(self) -> str:
        """A key that is equal for fronts on the same data that differ in the seed only."""
        flat = formatting.flatten(self.record.get("config"))
        config = {k: v for k, v in flat.items() if k not in _OF_ONE and not without_effect(k)}
        data = (self.record.get(name) for name in ("dataset", "dataset_sha256"))
        return json.dumps([config, *data, self.metric])

    def networks(self, kind: str) -> list[Mapping[str, Any]]:
        """The networks of a kind: "networks", "retrained" or "uniform"."""
        return formatting.items(self.record, kind)


def read_front(path: Path, warnings: list[str]) -> Front | None:
    """Returns the front of a folder; None, with a warning, if front.json is damaged."""
    record = json_file(path / FRONT, "left out", warnings)
    if record is None:
        return None
    metric = metric_of(record)
    if metric is None or not formatting.items(record, "networks"):
        warnings.append(f"{path.name}/{FRONT}: not a record of a front; left out.")
        return None
    kinds = ("networks", "retrained", "uniform")
    networks = [one for kind in kinds for one in formatting.items(record, kind)]
    folders = ["main", *(str(one.get("folder")) for one in networks)]
    measured = json_file(path / "latency.json", "left out", warnings) or {}
    return Front(
        name=printable(path.name),
        record=record,
        metric=metric,
        widths=formatting.items(record, "widths"),
        files={folder: _files(path / folder / "export", warnings) for folder in folders[1:]},
        latency={folder: _latency(measured, folder) for folder in folders},
        format=str(measured.get("format") or ""),
    )


def _files(export: Path, warnings: list[str]) -> tuple[tuple[str, Path], ...]:
    """Returns format and path of each exported file."""
    report = json_file(export / "export.json", "left out", warnings)
    rows = formatting.items(report, "files")
    return tuple((str(row.get("format")), export / Path(str(row.get("file"))).name) for row in rows)


def _latency(measured: Mapping[str, Any], folder: str) -> dict[tuple[int, int], float]:
    found = {}
    for line in formatting.items(measured, "networks", folder):
        batch, threads, ms = (formatting.number(line, x) for x in ("batch", "threads", "ms"))
        if batch and threads and ms:
            found[int(batch), int(threads)] = ms
    return found


def distinct(fronts: Iterable[Front], warnings: list[str]) -> tuple[Front, ...]:
    """Keeps one front per config, data and seed; the last of several."""
    kept: dict[object, Front] = {}
    for front in fronts:
        seed = formatting.number(front.record, "seed")
        key = front.series_key, object() if seed is None else seed
        other = kept.get(key)
        if other and other.record != front.record:
            warnings.append(
                f"{front.name}: another front with the same config and seed; left out {other.name}."
            )
        kept[key] = front
    return tuple(kept.values())


def by_series_key(fronts: Iterable[Front]) -> tuple[tuple[Front, ...], ...]:
    """Groups fronts that differ in the seed only, each group in order of seeds."""
    found: dict[str, list[Front]] = {}
    for front in fronts:
        found.setdefault(front.series_key, []).append(front)
    return tuple(tuple(sorted(own, key=_by_seed)) for own in found.values())


def _by_seed(front: Front) -> float:
    return formatting.number(front.record, "seed") or 0.0
