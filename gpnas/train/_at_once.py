"""Independent runs that train at once, in threads of one process."""

import contextlib
import functools
import pathlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
from ml_collections import ConfigDict

from gpnas import _stop
from gpnas._files import read_lines
from gpnas._stop import Stopped
from gpnas.data import Dataset
from gpnas.provenance import cores
from gpnas.train._loop import train_replicas
from gpnas.train._metrics import Progress, progress


class RunSpec(NamedTuple):
    """A run of a group.

    Attributes:
      name: Name of its folder.
      config: Its config.
      steps: Number of its steps.
      variables: Initial variables; None for the network's own.
    """

    name: str
    config: ConfigDict
    steps: int
    variables: Any = None


class RunsDone(NamedTuple):
    """Runs that have trained.

    Attributes:
      records: Record of each run by name.
      seconds: Duration of the group: time of this process, and that of earlier ones as if each run
        had trained alone.
    """

    records: dict[str, dict[str, Any]]
    seconds: float


def most_at_once() -> int:
    """Returns how many runs train at once: the cores of a CPU, since small programs use few.

    1 for accelerators, and for several devices or processes, whose collectives would interleave.
    """
    alone = jax.process_count() == jax.device_count() == 1
    return cores() if alone and jax.default_backend() == "cpu" else 1


def train_at_once(
    runs: Sequence[RunSpec],
    folder: pathlib.Path,
    data: Dataset,
    title: str,
    before: int = 0,
    after: int = 0,
) -> RunsDone:
    """Trains runs, as many at once as `most_at_once`; the results are those of runs in turn.

    Args:
      runs: The runs.
      folder: Parent of their folders.
      data: Their data set.
      title: Name of the group in its progress.
      before, after: Steps of other runs, which the progress includes.

    Raises:
      UserError, Diverged, Stopped: As for `train`, of the first run that failed; the others end.
    """
    begun = time.monotonic()
    spent = sum(_seconds_so_far(folder / run.name) for run in runs)
    with contextlib.ExitStack() as stack:
        stopped = stack.enter_context(_stop.stop_signal())
        steps = sum(run.steps for run in runs)
        show = _shared(stack.enter_context(progress(steps, title, before, after)))

        def one(run: RunSpec) -> dict[str, Any]:
            if stopped():
                raise Stopped(f"{run.name}: stopped before its first step")
            shown, where = _progress_of(run.name, show), [folder / run.name]
            try:
                (record,) = train_replicas(
                    [run.config], where, data, stopped, None, run.variables, shown
                )
            except Stopped as error:
                raise Stopped(f"{run.name}: {error}") from error
            show(run.name, run.steps, "")
            return record

        count = min(most_at_once(), len(runs))
        if count > 1:
            with ThreadPoolExecutor(count) as pool:
                futures = [pool.submit(one, run) for run in runs]
            records = [future.result() for future in futures]
        else:
            records = [one(run) for run in runs]
    found = {run.name: record for run, record in zip(runs, records, strict=True)}
    return RunsDone(found, time.monotonic() - begun + spent)


def _seconds_so_far(folder: pathlib.Path) -> float:
    """Returns the seconds that a run in this folder has trained and evaluated."""
    lines = read_lines(folder / "metrics.jsonl")
    return float(lines[-1]["wall_s"]) if lines else 0.0


def _shared(show_all: Callable[[int, str], None]) -> Callable[[str, int, str], None]:
    """Returns `(name, step, text) → None`, which shows the steps of all runs together.

    Args:
      show_all: `(steps of all runs, text) → None`.
    """
    lock, done = threading.Lock(), dict[str, int]()

    def show(name: str, step: int, text: str) -> None:
        with lock:
            done[name] = step
            show_all(sum(done.values()), f"{name} {text}" if text else "")

    return show


def _progress_of(name: str, show: Callable[[str, int, str], None]) -> Progress:
    """Returns the progress of one of the runs."""

    @contextlib.contextmanager
    def shown(steps: int, title: str) -> Iterator[Callable[[int, str], None]]:
        del steps, title
        yield functools.partial(show, name)

    return shown
