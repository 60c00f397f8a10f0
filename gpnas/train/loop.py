"""The loop of a run: from a config and a folder to a record."""

import contextlib
import functools
import json
import pathlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from absl import logging
from ml_collections import ConfigDict

from gpnas.data import Dataset, Split, load
from gpnas.errors import UserError
from gpnas.train import checkpoint, record
from gpnas.train.metrics import Write, progress, writer
from gpnas.train.observe import Selected, look, percent, tally, train_line, unselected
from gpnas.train.plan import Plan, make_plan
from gpnas.train.program import Program, make_program, variables_of
from gpnas.train.state import TrainState
from gpnas.train.workdir import keep_lines, locked, read_lines, write_json


class Diverged(RuntimeError):
    """A loss that is not finite; the checkpoints before it are kept."""


class Stopped(RuntimeError):
    """A signal asked the run to end; it was saved and can be resumed."""


def load_data(config: ConfigDict) -> Dataset:
    """The images of a config's `data` section.

    Raises:
      UserError: If they cannot be had.
    """
    c = config.data
    return load(
        c.name,
        raw_dir=c.raw_dir or None,
        data_dir=c.data_dir or None,
        cache_dir=c.cache_dir or None,
        validation=c.validation,
        seed=c.seed,
        image_size=c.image_size or None,
        download=c.download,
    )


def train(
    config: ConfigDict, workdir: str | pathlib.Path, data: Dataset | None = None
) -> dict[str, Any]:
    """Trains one network and writes its record.

    Args:
      config: The configuration, see `gpnas.train.config.base`.
      workdir: Folder of the run: config.json, metrics.jsonl, checkpoints, TensorBoard, record.json.
      data: The images, if they are loaded already.

    Returns:
      The record.

    Raises:
      UserError: For a config that cannot be, or a folder that another run has used or is using.
      Diverged: If the loss is not finite.
      Stopped: If SIGTERM or SIGINT came.
    """
    workdir = pathlib.Path(workdir)
    check_workdir(workdir, config.resume)
    data = load_data(config) if data is None else data
    plan = make_plan(config, data)
    with locked(workdir):
        check_workdir(workdir, config.resume)
        return _run(config, workdir, data, plan)


def check_workdir(workdir: pathlib.Path, resume: bool) -> None:
    """Makes sure that a run does not overwrite another.

    Raises:
      UserError: If there is a run in the folder and it is not to be resumed.
    """
    if not resume and (workdir / "config.json").exists():
        raise UserError(
            "workdir", str(workdir), "a folder without a run in it, or --config.resume=True"
        )


def _run(config: ConfigDict, workdir: pathlib.Path, data: Dataset, plan: Plan) -> dict[str, Any]:
    about = record.describe_run(config, data, plan)
    finished = workdir / "record.json"
    if finished.exists():
        return _finished(json.loads(finished.read_text()), about)
    program = make_program(plan, data, config.train.parallel)
    state = program.init(jax.random.key(config.seed))
    selected = unselected(state)
    metrics = workdir / "metrics.jsonl"
    restored = checkpoint.restore(workdir / "checkpoints", (state, selected))
    if restored is not None:
        step, (state, selected) = restored
        logging.info("resumed at step %d of %d", step, plan.total_steps)
    lines = keep_lines(metrics, int(state.step))
    write_json(workdir / "config.json", about)
    with writer(workdir, config.train.tensorboard) as write:
        wall = lines[-1]["wall_s"] if lines else 0.0
        state, selected = _loop(config, workdir, data, plan, program, state, selected, write, wall)
    return _finish(config, workdir, data, plan, program, state, selected, about)


def _finished(done: dict[str, Any], about: dict[str, Any]) -> dict[str, Any]:
    """The record of a run that had ended, if it is the run that is asked for."""
    ignored = {"resume": None}
    if done["config"] | ignored != about["config"] | ignored:
        raise UserError("resume", "a finished run", "the config that it was run with")
    return done


def _loop(
    config: ConfigDict,
    workdir: pathlib.Path,
    data: Dataset,
    plan: Plan,
    program: Program,
    state: TrainState,
    selected: Selected,
    write: Write,
    wall: float,
) -> tuple[TrainState, Selected]:
    """Steps in chunks that end where an epoch does, or where something is to be logged."""
    log_every, batch = config.train.log_every, config.train.batch_size
    step, eval_steps = int(state.step), config.train.eval_every * plan.steps_per_epoch
    rows = batch_order(len(data.train), batch, config.seed)
    before, saved = tally(state), time.monotonic()
    state = program.place(state)
    title = config.arm or config.method.name
    with progress(plan.total_steps, title) as show, stop_signal() as stopped:
        while step < plan.total_steps:
            begun, text = time.monotonic(), ""
            steps = min(
                log_every - step % log_every, plan.steps_per_epoch - step % plan.steps_per_epoch
            )
            state, sums = program.run(
                state, rows(step, min(log_every, plan.steps_per_epoch)), steps
            )
            here = program.fetch(state)
            now = tally(here)
            line = train_line(before, now, jax.device_get(sums))
            step, before, spent = step + steps, now, time.monotonic() - begun
            if not np.isfinite(line["loss"]):
                raise Diverged(
                    f"the loss is {line['loss']} between steps {step - steps} and {step}"
                )
            wall += spent
            write(
                line | {"images_per_s": round(steps * batch / spent, 1), "wall_s": round(wall, 3)}
            )
            if step % eval_steps == 0 or step == plan.total_steps:
                line, selected = look(program, here, data.validation, selected)
                wall += time.monotonic() - begun - spent
                write(line | {"wall_s": round(wall, 3)})
                text = f"validation error {line['error']:.2f} %, density {now.density:.4f}"
            show(step, text)
            due = text and time.monotonic() - saved >= config.train.checkpoint_seconds
            if due or stopped() or step == plan.total_steps:
                checkpoint.save(workdir / "checkpoints", step, (here, selected))
                saved = time.monotonic()
            if stopped() and step < plan.total_steps:
                raise Stopped(f"stopped at step {step}; --config.resume=True goes on from there")
    return program.fetch(state), selected


def _finish(
    config: ConfigDict,
    workdir: pathlib.Path,
    data: Dataset,
    plan: Plan,
    program: Program,
    state: TrainState,
    selected: Selected,
    about: dict[str, Any],
) -> dict[str, Any]:
    """The one look at the test images, and the record."""
    last = {name: program.evaluate(variables_of(state), split) for name, split in _splits(data)}
    test = program.evaluate(selected.variables, data.test)
    lines = read_lines(workdir / "metrics.jsonl")
    curve = [line for line in lines if line["split"] == "train"]
    shown = ("step", "density", "grown", "pruned", "layers")
    result = about | {
        "metrics": {
            "test_error_last": percent(last["test"].error),
            "test_error_selected": percent(test.error),
            "val_error_last": percent(last["validation"].error),
            "val_error_selected": round(float(selected.error), 4),
            "selected_step": int(selected.step),
        },
        "cost": record.cost_of(plan, state, curve, config.train.batch_size),
        "layers": record.layers_of(state.masks),
        "curve": [{name: line[name] for name in shown} for line in curve],
        "compilations": program.executables(),
        "wall_s": lines[-1]["wall_s"],
    }
    record.receptive_field(plan, state, workdir / "receptive.npz")
    write_json(workdir / "record.json", result)
    return result


def _splits(data: Dataset) -> list[tuple[str, Split]]:
    return [("validation", data.validation), ("test", data.test)]


def batch_order(images: int, batch: int, seed: int) -> Callable[[int, int], np.ndarray]:
    """The order of the training images: a new shuffle each epoch, a function of seed and step alone.

    Args:
      images: How many there are.
      batch: Images a step; what is left over at the end of an epoch is left out of it.
      seed: The run's.

    Returns:
      `(step, rows) → (rows, batch) int32`, images of the steps from `step` to the end of its epoch,
      at most `rows` of them, and zeros after.
    """
    per_epoch = images // batch

    @functools.lru_cache(maxsize=1)
    def shuffled(epoch: int) -> np.ndarray:
        drawn = np.random.default_rng((seed, epoch)).permutation(images)[: per_epoch * batch]
        return drawn.astype(np.int32).reshape(per_epoch, batch)

    def rows(step: int, count: int) -> np.ndarray:
        epoch, at = divmod(step, per_epoch)
        found = shuffled(epoch)[at : at + count]
        return np.pad(found, ((0, count - len(found)), (0, 0)))

    return rows


@contextlib.contextmanager
def stop_signal() -> Iterator[Callable[[], bool]]:
    """Yields a function that says whether SIGTERM or SIGINT has come; a second one acts at once."""
    came: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return

    def note(number: int, frame: Any) -> None:
        del frame
        came.append(number)
        signal.signal(number, usual[signal.Signals(number)])

    usual = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    for number in usual:
        signal.signal(number, note)
    try:
        yield lambda: bool(came)
    finally:
        for number, handler in usual.items():
            signal.signal(number, handler)
