"""Commands in separate processes, as started by users, and the files that they write."""

import os
import pathlib
import resource
import subprocess
import sys
import time
import types
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from experiments.faults.fault import Options
from gpnas.records import read_json

ROOT = pathlib.Path(__file__).parents[2]
_POLL = 0.002  # seconds between polls of a folder


def _arguments(kind: str, folder: pathlib.Path) -> list[str]:
    config = f"--config={ROOT}/experiments/faults/small.py:{kind}"
    if kind == "sweep":
        return ["sweep.py", config, f"--workdir={folder}", f"--results={folder}/results"]
    if kind == "front":
        return ["front.py", config, f"--workdir={folder}", "--formats=safetensors", "--seconds=0"]
    return ["train.py", config, f"--workdir={folder}"]


COMMANDS = ("train", "elastic", "sweep", "front")  # seeds of the sweep are replicas of one program


class Ended(NamedTuple):
    """The end of a process: exit code, and the lines that it wrote to stderr."""

    code: int
    said: list[str]

    def reports(self, text: str) -> bool:
        """Returns whether the last line contains this text, and there is no traceback."""
        last = self.said[-1] if self.said else ""
        return text in last and not any("Traceback" in line for line in self.said)


def start(
    kind: str,
    folder: pathlib.Path,
    *more: str,
    file_size: int | None = None,
    environment: Mapping[str, str] = types.MappingProxyType({}),
) -> subprocess.Popen:
    """Starts a command.

    Args:
      kind: One of `COMMANDS`.
      folder: Folder of its runs; the same folder resumes them.
      more: Further flags.
      file_size: Largest size of a file in bytes, to simulate a full disk.
      environment: Further environment variables.
    """

    def limited() -> None:
        if file_size is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (file_size, file_size))

    script, *arguments = _arguments(kind, folder)
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        [sys.executable, str(ROOT / "experiments" / script), *arguments, *more],
        env={**os.environ, "PYTHONPATH": path, **environment}, preexec_fn=limited, text=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip


def end(process: subprocess.Popen) -> Ended:
    """Waits until a process ends."""
    said = process.communicate()[1]
    return Ended(process.returncode, said.splitlines())


def run(kind: str, folder: pathlib.Path, *more: str, file_size: int | None = None) -> Ended:
    """Runs a command to its end."""
    return end(start(kind, folder, *more, file_size=file_size))


def wait_until(process: subprocess.Popen, happened: Callable[[], bool]) -> bool:
    """Waits for an event or the end of the process; returns whether the process still runs."""
    while process.poll() is None:
        if happened():
            return process.poll() is None
        time.sleep(_POLL)
    return False


def _runs(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    """Yields the folders of runs; skips folders that a save creates and removes meanwhile."""
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith("checkpoints")]
        if "metrics.jsonl" in files:
            yield pathlib.Path(place)


def lines(folder: pathlib.Path) -> int:
    """Returns the number of metrics lines that the runs in a folder have written."""
    return sum((run / "metrics.jsonl").read_bytes().count(b"\n") for run in _runs(folder))


def has_lines(folder: pathlib.Path, least: int) -> bool:
    """Returns whether the runs in a folder have written at least `least` metrics lines."""
    return lines(folder) >= least


def saving(folder: pathlib.Path) -> bool:
    """Returns whether a checkpoint is being written: Orbax's folder exists, the digest does not."""
    for checkpoints in [path for run in _runs(folder) for path in run.glob("checkpoints*")]:
        names = set(os.listdir(checkpoints))
        steps = {name.partition(".")[0] for name in names if name[:1].isdigit()}
        if any(f"{step}.digest.json" not in names for step in steps):
            return True
    return False


def states(folder: pathlib.Path) -> dict[str, str]:
    """Returns `{run: SHA-256 of its last state}` of the finished runs in a folder."""
    return {
        str(path.parent.relative_to(folder)): read_json(path, "folder", "a record")["state_sha256"]
        for path in sorted(folder.rglob("record.json"))
    }


class Expected(NamedTuple):
    """An uninterrupted command: its name, the states of its runs, the number of metrics lines."""

    kind: str
    states: dict[str, str]
    lines: int


def resumes(expected: Expected, folder: pathlib.Path) -> bool:
    """Reruns a command in a folder; returns whether it ends in the uninterrupted run's states."""
    return run(expected.kind, folder).code == 0 and states(folder) == expected.states


def each(options: Options, what: str) -> Iterator[tuple[Expected, pathlib.Path]]:
    """Yields uninterrupted commands, `repeats` in total, each with a new folder."""
    kinds = options.commands
    for i, expected in enumerate(uninterrupted(options.folder, kinds)):
        for number in range(i, options.repeats, len(kinds)):
            yield expected, options.folder / f"{expected.kind}-{what}-{number}"


def uninterrupted(folder: pathlib.Path, kinds: tuple[str, ...]) -> Iterator[Expected]:
    """Runs commands to their ends, each in its own folder."""
    for kind in kinds:
        own = folder / f"{kind}-whole"
        done = run(kind, own)
        assert done.code == 0, done.said
        yield Expected(kind, states(own), lines(own))
