"""Exports the networks of a front and measures their latency side by side."""

import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gpnas._files import PathLike, read_json, sealed, write_json
from gpnas.data import Dataset, require_kind
from gpnas.deploy._formats import require_formats
from gpnas.deploy._latency import measure_latency
from gpnas.deploy.export import BATCHES, KINDS, THREADS, export_run, latency_line
from gpnas.provenance import provenance
from gpnas.train import load_run

_WHOLE = "main"  # folder of the main run; its dense network is the whole network
_NETWORK = "last"  # of each run

Record = Mapping[str, Any]


def export_front(workdir: PathLike, names: Sequence[str], seconds: float = 0.3) -> None:
    """Writes FOLDER/export for each network of a front, and WORKDIR/latency.json.

    Latency is measured for the files of the first format, called in turn. The reference is the
    whole network, `main/export/dense`. Existing exports and measurements are reused.

    Args:
      workdir: Folder of a front.
      names: Formats, see `export_run`.
      seconds: Duration of the measurement for each network, batch size and number of threads; 0 for
        none.

    Raises:
      UserError: If the folder has no front, or a network or format cannot be exported.
      OSError, RuntimeError: As `export_run`.
    """
    require_formats(names)
    workdir = pathlib.Path(workdir)
    record = read_json(workdir / "front.json", "workdir", "a folder with the front.json of a front")
    networks = (*record["networks"], *record["uniform"], *record.get("retrained", ()))
    parts = {_WHOLE: "dense"} | {str(one["folder"]): "compact" for one in networks}
    exports = dict(_exports(workdir, names, parts))
    files = {
        folder: next(
            row
            for row in report["files"]
            if (row["network"], row["format"]) == (parts[folder], names[0])
        )
        for folder, report in exports.items()
    }
    digests = {folder: row["sha256"] for folder, row in files.items()}
    path = workdir / "latency.json"
    if seconds and not (path.exists() and _known(path).get("sha256") == digests):
        paths = {folder: workdir / folder / "export" / row["file"] for folder, row in files.items()}
        found = _measure(paths, exports[_WHOLE]["image_shape"], seconds)
        content = {"format": names[0], "networks": found, "sha256": digests, **provenance()}
        write_json(path, sealed(content))


def _exports(
    workdir: pathlib.Path, names: Sequence[str], parts: Mapping[str, str]
) -> Iterator[tuple[str, Record]]:
    """Yields the content of export.json of each folder; exports missing networks."""
    data: Dataset | None = None
    for folder, part in parts.items():
        path = workdir / folder / "export" / "export.json"
        there = _known(path) if path.exists() else {"files": ()}
        wanted = {(part, name) for name in names}
        made = {
            (row["network"], row["format"])
            for row in there["files"]
            if (path.parent / row["file"]).is_file()
        }
        if wanted <= made and there["network"] == _NETWORK:
            yield folder, there
            continue
        if data is None:
            data = load_run(workdir / _WHOLE, _NETWORK).data
            require_kind(data, **KINDS)
        yield (
            folder,
            export_run(workdir / folder, names, _NETWORK, seconds=0, parts=(part,), data=data),
        )


def _known(path: pathlib.Path) -> Record:
    return read_json(path, "workdir", "what an export wrote")


def _measure(
    paths: Mapping[str, pathlib.Path], shape: Sequence[int], seconds: float
) -> dict[str, list[dict[str, Any]]]:
    """Measures each file's latency by batch size and number of threads, and its speed-up."""
    found: dict[str, list[dict[str, Any]]] = {folder: [] for folder in paths}
    for threads in THREADS:
        measured = measure_latency(paths, shape, BATCHES, threads, seconds * len(paths))
        for batch, taken in measured.items():
            for folder, lines in found.items():
                lines.append(latency_line(taken, folder, _WHOLE, batch, threads))
    return found
