"""Seeds that train together: constants, the progress of each seed, and their checkpoints."""

import pathlib
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from gpnas._files import line_of, sync
from gpnas.data import Dataset
from gpnas.errors import GaveUp, check_unchanged
from gpnas.train import _checkpoint, _processes
from gpnas.train._goodput import Instant, charge, split_due
from gpnas.train._metrics import Progress, Write
from gpnas.train._observe import HostCounters, Selected
from gpnas.train._plan import Plan
from gpnas.train._shuffle import Order
from gpnas.train._state import TrainState
from gpnas.train._workdir import (
    Written,
    check_has_config,
    check_same_run,
    read_written,
    run_description,
)


class Diverged(GaveUp):
    """A non-finite loss or metric; earlier checkpoints are kept."""


def check_finite(split: str, numbers: Mapping[str, Any], step: int) -> None:
    """Raises Diverged for the first non-finite number of a line."""
    for name, value in numbers.items():
        if isinstance(value, float) and not np.isfinite(value):
            raise Diverged(f"the {split} {name} is {value} at step {step}")


class RunContext(NamedTuple):
    """Constants of the seeds of one config that train together.

    Attributes:
      configs: Config of each seed; they differ only in the seed.
      folders: Folder of each seed.
      checkpoints: The folder of their checkpoints.
      data: The data set.
      plan: The plan of all seeds.
      orders: Batch order of each seed.
      stopped: `() → bool`, whether to stop.
      clock: The time, with the part spent on compilation.
      trace: `(step, state) → None`, see `_profile`.
      progress: Shows the steps, see `_metrics.progress`.
    """

    configs: Sequence[ConfigDict]
    folders: Sequence[pathlib.Path]
    checkpoints: pathlib.Path
    data: Dataset
    plan: Plan
    orders: Sequence[Order]
    stopped: Callable[[], bool]
    clock: Callable[[], Instant]
    trace: Callable[[int, Any], None]
    progress: Progress


class Replica(NamedTuple):
    """The host's state of one seed.

    Attributes:
      write: Writes a line of metrics.jsonl.
      written: Number and digest of the lines written so far.
      selected: The selected network so far.
      counters: Counters at the last training line.
      wall: Seconds of training and evaluation up to the last line.
      values: `(step, metric)` of all evaluations.
      loss: Validation loss of the last evaluation.
      pending: Seconds by activity that the next line reports, see `_goodput`.
    """

    write: Write
    written: Written
    selected: Selected
    counters: HostCounters
    wall: float
    values: tuple[tuple[int, float], ...] = ()
    loss: float = float("nan")
    pending: Mapping[str, float] = types.MappingProxyType({})

    def logged(self, line: dict[str, Any], seconds: float) -> "Replica":
        """Returns the replica with one more line, after the given seconds.

        Raises:
          Diverged: If the loss or metric is not finite; nothing is written then.
        """
        check_finite(line["split"], line, line["step"])
        wall = round(self.wall + seconds, 3)
        due, pending = split_due(self.pending)
        line = line | {"wall_s": wall} | due
        self.write(line)
        return self._replace(written=self.written.then(line_of(line)), wall=wall, pending=pending)

    def charged(self, **seconds: float) -> "Replica":
        """Adds seconds by activity, reported with the next metrics line."""
        return self._replace(pending=charge(self.pending, **seconds))


def selected_at(replicas: Sequence[Replica]) -> set[int]:
    """Returns the steps at which the selected networks were evaluated."""
    return {int(replica.selected.step) for replica in replicas}


def save_run(
    run: RunContext,
    step: int,
    states: Sequence[TrainState],
    replicas: Sequence[Replica],
    widths: Mapping[str, int],
) -> None:
    """Writes a checkpoint of all seeds, with digests of the metrics lines so far.

    The states have full shapes; `widths` are those of the program's arrays (elastic runs).
    Process 0 writes the whole state; the others wait.

    Raises:
      OSError: If it cannot be written.
    """

    def save() -> None:
        for folder in run.folders:
            sync(folder / "metrics.jsonl")
        tree = states, [replica.selected for replica in replicas]
        known = {
            "runs": [run_description(config, run.data) for config in run.configs],
            "lines": [replica.written for replica in replicas],
            "widths": dict(widths),
            "batch_size": run.plan.batch_size,
        }
        train = run.configs[0].train
        kept = {epoch * run.plan.steps_per_epoch for epoch in train.keep_epochs}
        if train.keep_best:
            kept |= selected_at(replicas)
        _checkpoint.save(run.checkpoints, step, tree, known, kept, train.keep)

    _processes.from_first(save)


class Restored(NamedTuple):
    """The contents of a checkpoint.

    Attributes:
      step: Steps done; 0 for a fresh start.
      tree: States and selections of all seeds.
      written: The metrics lines that each seed had written.
      widths: Widths given to `save_run`; none for a fresh start.
    """

    step: int
    tree: Any
    written: list[Written]
    widths: Mapping[str, int]


def restore_run(run: RunContext, fresh: Any) -> Restored:
    """Restores the newest checkpoint that agrees with the metrics lines, or starts afresh.

    Process 0 reads the checkpoint and sends it to the others, which need no access to the folder.

    Raises:
      UserError: If there are only damaged checkpoints, or those of another run or batch size.
    """
    tree = fresh

    def read() -> Restored:
        nonlocal tree
        found = _restore(run, fresh)
        tree = found.tree
        return found._replace(tree=None)

    step, _, written, widths = _processes.from_first(read)
    lines = [Written(*one) for one in written]
    return Restored(step, _processes.arrays_of_first(tree), lines, widths)


def _restore(run: RunContext, fresh: Any) -> Restored:
    found: list[tuple[list[Written], dict[str, int]]] = []

    def accept(known: Any) -> bool:
        if known is None:  # written by an older version
            return False
        for there, config in zip(known["runs"], run.configs, strict=True):
            check_same_run(there, run_description(config, run.data), str(run.checkpoints))
        size = run.plan.batch_size  # of few examples, it depends on the number of devices
        before, since = known.get("batch_size", size), f"as the run in {run.checkpoints} began"
        check_unchanged({"batch_size": before}, {"batch_size": size}, f"{since}: other devices")
        written = [Written(*lines) for lines in known["lines"]]
        found.append((written, known.get("widths", {})))
        pairs = zip(run.folders, written, strict=True)
        return all(read_written(f / "metrics.jsonl", lines) is not None for f, lines in pairs)

    restored = _checkpoint.restore(run.checkpoints, fresh, accept)
    if restored is None:
        for folder in run.folders:
            check_has_config(folder)
        return Restored(0, fresh, [Written() for _ in run.folders], {})
    return Restored(*restored, *found[-1])
