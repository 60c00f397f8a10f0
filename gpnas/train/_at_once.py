"""Independent runs that train at once, in threads of one process."""

import contextlib
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
    jobs: Sequence[RunSpec],
    folder: pathlib.Path,
    data: Dataset,
    title: str,
    before: int = 0,
    after: int = 0,
) -> RunsDone:
    """Trains runs, as many at once as `most_at_once`; the results are those of runs in turn.

    Args:
      jobs: The runs.
      folder: Parent of their folders.
      data: Their data set.
      title: Name of the group in its progress.
      before, after: Steps of other runs, which the progress includes.

    Raises:
      UserError, Diverged, Stopped: As for `train`, of the first run that failed; the others end.
    """
    begun = time.monotonic()
    spent = sum(_seconds_so_far(folder / job.name) for job in jobs)
    with contextlib.ExitStack() as stack:
        stopped = stack.enter_context(_stop.stop_signal())
        show = stack.enter_context(progress(sum(job.steps for job in jobs), title, before, after))
        shared = _Shared(threading.Lock(), {}, show)

        def one(job: RunSpec) -> dict[str, Any]:
            if stopped():
                raise Stopped(f"{job.name}: stopped before its first step")
            shown, where = shared.progress(job.name), [folder / job.name]
            try:
                (record,) = train_replicas(
                    [job.config], where, data, stopped, None, job.variables, shown
                )
            except Stopped as error:
                raise Stopped(f"{job.name}: {error}") from error
            shared.show(job.name, job.steps, "")
            return record

        count = min(most_at_once(), len(jobs))
        if count > 1:
            with ThreadPoolExecutor(count) as pool:
                futures = [pool.submit(one, job) for job in jobs]
            records = [future.result() for future in futures]
        else:
            records = [one(job) for job in jobs]
    found = {job.name: record for job, record in zip(jobs, records, strict=True)}
    return RunsDone(found, time.monotonic() - begun + spent)


def _seconds_so_far(folder: pathlib.Path) -> float:
    """Returns the seconds that a run in this folder has trained and evaluated."""
    lines = read_lines(folder / "metrics.jsonl")
    return float(lines[-1]["wall_s"]) if lines else 0.0


class _Shared(NamedTuple):
    """The progress of runs that train at once.

    Attributes:
      lock: Held while `done` changes.
      done: Steps of each run so far.
      show: `(steps of all runs, text) → None`.
    """

    lock: threading.Lock
    done: dict[str, int]
    show_all: Callable[[int, str], None]

    def show(self, name: str, step: int, text: str) -> None:
        """Shows the step of a run."""
        with self.lock:
            self.done[name] = step
            self.show_all(sum(self.done.values()), f"{name} {text}" if text else "")

    def progress(self, name: str) -> Progress:
        """Returns the progress of a run."""

        @contextlib.contextmanager
        def shown(steps: int, title: str) -> Iterator[Callable[[int, str], None]]:
            del steps, title
            yield lambda step, text: self.show(name, step, text)

        return shown
