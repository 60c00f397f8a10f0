"""The loop of a run: trains a config and writes the record to a folder."""

import contextlib
import functools
import os
import pathlib
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
from absl import logging
from ml_collections import ConfigDict

from gpnas import _stop
from gpnas._files import PathLike
from gpnas._stop import Stopped
from gpnas.data import Dataset
from gpnas.masks import masked_leaves
from gpnas.train import _elastic, _patience, _processes, _record
from gpnas.train._feed import call_bounds, chunk_end, open_feed
from gpnas.train._flush import Chunk, chunks_ahead, flush_metrics, one_at_a_time
from gpnas.train._forecast import few_updates, forecast_line
from gpnas.train._goodput import stopwatch
from gpnas.train._metrics import Progress, progress, writer
from gpnas.train._observe import (
    copy_counters,
    no_selections,
    resume_counters,
    select_best,
    to_host,
    units_of,
    validation_values,
)
from gpnas.train._optimizer import learning_rate
from gpnas.train._plan import Plan
from gpnas.train._prepare import prepare
from gpnas.train._profile import profiler
from gpnas.train._program import (
    Program,
    in_saved_widths,
    make_program,
    matmul_precision,
    resize_to_active,
)
from gpnas.train._run import Replica, RunContext, restore_run, save_run, selected_at
from gpnas.train._shuffle import batch_order
from gpnas.train._state import TrainState
from gpnas.train._step import Metrics
from gpnas.train._workdir import check_workdirs, finished, locked_run, start_run
from gpnas.train.task import Metric, Task

_BETWEEN_SAVES = 20  # least time between two checkpoints, in saving times: saving costs 5 %
_LEFT_OUT = 0.1  # fraction of the training examples; a run warns if it drops more


def train(
    config: ConfigDict,
    workdir: PathLike,
    data: Dataset | None = None,
    task: Task | None = None,
    variables: Any = None,
    progress: Progress = progress,
) -> dict[str, Any]:
    """Trains one network and writes its record.

    Args:
      config: The configuration, see `gpnas.train.base`.
      workdir: Folder of the run: config.json, metrics.jsonl, checkpoints, TensorBoard, record.json.
      data: The data set, if already loaded.
      task: A task that replaces the config's `task` and `model`.
      variables: Initial variables; by default the network's own, or those of `train.init_from`.
      progress: Shows the steps, see `Progress`; by default a bar or lines on stderr.

    Returns:
      The record.

    Raises:
      UserError: If the config is invalid, or another run has used or is using the folder.
      Diverged: If the loss or the metric is not finite.
      Stopped: If SIGTERM or SIGINT was received.
    """
    return train_replicas([config], [workdir], data, None, task, variables, progress)[0]


def train_replicas(
    configs: Sequence[ConfigDict],
    workdirs: Sequence[PathLike],
    data: Dataset | None = None,
    stopped: Callable[[], bool] | None = None,
    task: Task | None = None,
    variables: Any = None,
    progress: Progress = progress,
) -> list[dict[str, Any]]:
    """Trains several seeds of one config as one vmapped program; faster for small networks.

    Args:
      configs: Configurations that differ only in the seed.
      workdirs: One folder per config.
      data: The data set, if already loaded.
      stopped: `() → bool`, whether to stop; by default, whether SIGTERM or SIGINT was received.
      task, variables, progress: As for `train`.

    Returns:
      One record per config.

    Raises:
      ValueError: If the configs differ in more than the seed.
      UserError, Diverged, Stopped: As for `train`; a non-finite loss stops all replicas.
    """
    config, folders = configs[0], [pathlib.Path(workdir) for workdir in workdirs]
    data, plan, checkpoints, loaded = prepare(configs, folders, data, task, variables)
    with contextlib.ExitStack() as locks:

        def lock() -> None:
            for folder in folders:
                locks.enter_context(locked_run(folder))
            check_workdirs(folders, configs, data)

        _processes.from_first(lock)
        if stopped is None:
            stopped = locks.enter_context(_stop.stop_signal())
        orders = [batch_order(len(data.train), plan.batch_size, c.seed) for c in configs]
        clock = locks.enter_context(stopwatch())
        trace = locks.enter_context(profiler(config.train.profile, folders[0] / "profile"))
        run = RunContext(
            configs, folders, checkpoints, data, plan, orders, stopped, clock, trace, progress
        )
        locks.enter_context(matmul_precision(config.train))
        return _run(run, loaded)


def _run(run: RunContext, loaded: Any) -> list[dict[str, Any]]:
    configs, folders, data, plan = run.configs, run.folders, run.data, run.plan
    config, begun = configs[0], time.monotonic()
    if done := _processes.from_first(lambda: finished(folders)):
        return done
    abouts = [
        _record.describe_run(c, data, plan)
        | {"checkpoints": os.path.relpath(run.checkpoints, folder)}
        for c, folder in zip(configs, folders, strict=True)
    ]
    if config.elastic:
        program = _elastic.make_elastic(config, data, plan)
    else:
        program = make_program(plan, data, len(configs), config.train.shard_min_size)
    states = program.init([jax.random.key(c.seed) for c in configs], loaded)
    selected = no_selections(program, states)
    step, (states, selected), written, widths = restore_run(run, (states, selected))
    logging.info("at step %d of %d", step, plan.total_steps)
    _warn(config, plan, data)
    counts = jax.device_get([copy_counters(state) for state in states])
    with contextlib.ExitStack() as stack:
        replicas = []
        for i, (folder, state) in enumerate(zip(folders, states, strict=True)):
            begin_one = functools.partial(start_run, folder, abouts[i], written[i])
            lines, repeated = _processes.from_first(begin_one)
            write = stack.enter_context(writer(folder, config.train.tensorboard, step))
            sizes = {path: mask.size for path, mask in masked_leaves(state.masks).items()}
            units = units_of(state.mask_state)
            counters = resume_counters(to_host(counts[i], 0, sizes, units), lines)
            wall = lines[-1]["wall_s"] if lines else 0.0
            values = validation_values(lines, plan.task.metric)
            one = Replica(write, written[i], selected[i], counters, wall, values)
            spent = time.monotonic() - begun
            lost = repeated + (spent if step else 0.0)
            replicas.append(one.charged(start_s=0.0 if step else spent, lost_s=lost))
        states, replicas = _loop(run, *in_saved_widths(program, states, widths), replicas)
    return _processes.from_first(lambda: _record.finish(run, program, states, replicas, abouts))


def _warn(config: ConfigDict, plan: Plan, data: Dataset) -> None:
    """Warns if a run deviates from what its config suggests."""
    if plan.batch_size < config.train.batch_size:
        logging.warning(
            "batches of %d examples, not of train.batch_size %d: there are %d training examples",
            plan.batch_size, config.train.batch_size, len(data.train),
        )  # fmt: skip
    left = len(data.train) - plan.steps_per_epoch * plan.batch_size
    if left > _LEFT_OUT * len(data.train):
        logging.warning(
            "each epoch drops %d of %d training examples, different ones each time, since all"
            " batches have %d examples; a smaller train.batch_size drops fewer",
            left, len(data.train), plan.batch_size,
        )  # fmt: skip
    few = few_updates(plan.expected.get("mask_updates"), plan.durations, plan.total_steps)
    if few:
        logging.warning("%s", few)


def _loop(
    run: RunContext, program: Program, states: list[TrainState], replicas: list[Replica]
) -> tuple[list[TrainState], list[Replica]]:
    """Runs the steps in chunks, which end at the end of an epoch or at a log point.

    Results of chunks are fetched together, about once per second and before an evaluation, while
    the device computes the next chunks.
    """
    config, plan = run.configs[0], run.plan
    per_epoch, metric = plan.steps_per_epoch, plan.task.metric
    step, due_at = int(states[0].step), time.monotonic() + config.train.checkpoint_seconds
    out_of_patience = _patience.make_rule(config.train, plan.method, plan.total_steps, metric)
    if step < plan.total_steps and not out_of_patience(replicas[0].values):
        program, states, _ = resize_to_active(program, states)
    rate = learning_rate(config.optimizer, plan.total_steps, plan.method.trainings)
    placed, running, since = program.place(states), [], run.clock()
    ahead = chunks_ahead(None)
    shown = run.progress(plan.total_steps, config.arm or config.method.name)
    with shown as show, _open_feed(run, step) as feed:
        show(step, forecast_line(plan.expected))
        while step < plan.total_steps and not out_of_patience(replicas[0].values):
            run.trace(step, placed)
            begun_at = step
            placed, sums, step, waited = _run_chunk(run, program, placed, feed, step)
            replicas = [one.charged(data_s=waited) for one in replicas]
            counts = copy_counters(program.view(placed), len(replicas))
            running.append(Chunk(step, step - begun_at, sums, counts, rate(step)))
            last = step == plan.total_steps
            eval_now = last or step % (config.train.eval_every * per_epoch) == 0
            keep = step % per_epoch == 0 and step // per_epoch in config.train.keep_epochs
            if eval_now or keep or len(running) > ahead:
                kept = 0 if eval_now or keep else min(ahead, 1)
                done, running = running[: len(running) - kept], running[len(running) - kept :]
                begun = since
                replicas, since = flush_metrics(replicas, done, plan, since, show, run.clock)
                ahead = chunks_ahead((since.time - begun.time) / len(done))
            stop_now = _processes.any_of(run.stopped())
            if stop_now:
                replicas, since = flush_metrics(replicas, running, plan, since, show, run.clock)
            if eval_now or stop_now or keep or program.resize_to_active:
                states = program.fetch(placed)
            if eval_now:
                replicas = _evaluate(run, program, states, replicas)
                show(step, "; ".join(_evaluation_text(one, metric) for one in replicas))
                if not last and out_of_patience(replicas[0].values):
                    last = True
                    show(step, f"ends here: train.patience={config.train.patience}")
                placed, states = _on_eval(program, placed, states, replicas, run.data)
            due = eval_now and _processes.from_first(
                functools.partial(_is_due, config.train, due_at, step, replicas)
            )
            if due or keep or stop_now or last:
                replicas, due_at = _save(run, step, program, states, replicas)
            if stop_now and not last:
                raise Stopped(f"stopped at step {step}")
            if not last:
                program, states, moved = resize_to_active(program, states)
                placed = program.place(states) if moved else placed
            since = run.clock() if eval_now or keep else since
    return [program.to_full_shape(state) for state in states], replicas


def _open_feed(run: RunContext, step: int) -> contextlib.AbstractContextManager[Iterator]:
    train, plan = run.configs[0].train, run.plan
    bounds = call_bounds(train, plan.steps_per_epoch, plan.stream, step, plan.total_steps)
    rows = plan.stream or min(train.log_every, plan.steps_per_epoch)
    return open_feed(run.data.train, run.orders, bounds, rows, plan.stream > 0)


def _run_chunk(
    run: RunContext, program: Program, placed: TrainState, feed: Iterator, step: int
) -> tuple[TrainState, Metrics, int, float]:
    """Runs the steps to the next log point: state, sums of metrics, that step, seconds of waiting.

    The seconds are those of waiting for input, not for the device.
    """
    end, waited = chunk_end(run.configs[0].train, run.plan.steps_per_epoch, step), 0.0
    sums: Metrics | None = None
    while step < end:
        begun = time.monotonic()
        steps, rows = next(feed)
        waited += time.monotonic() - begun
        placed, more = program.run(placed, rows, steps, step)
        sums = more if sums is None else jax.tree.map(jax.numpy.add, sums, more)
        if one_at_a_time():
            jax.block_until_ready((placed, sums))
        step += steps
    assert sums is not None
    return placed, sums, step, waited


def _save(
    run: RunContext, step: int, program: Program, states: list[TrainState], replicas: list[Replica]
) -> tuple[list[Replica], float]:
    """Saves a checkpoint; returns the replicas with the time added, and when the next is due."""
    begun, least = time.monotonic(), run.configs[0].train.checkpoint_seconds
    full = [program.to_full_shape(state) for state in states]
    save_run(run, step, full, replicas, program.widths)
    seconds = time.monotonic() - begun
    wait = max(least, _BETWEEN_SAVES * seconds) if least else 0.0
    return [one.charged(save_s=seconds) for one in replicas], time.monotonic() + wait


def _is_due(train: ConfigDict, due_at: float, step: int, replicas: Sequence[Replica]) -> bool:
    """Returns whether to save a checkpoint after an evaluation."""
    selected = train.keep_best and step in selected_at(replicas)
    return selected or time.monotonic() >= due_at


def _evaluate(
    run: RunContext, program: Program, states: list[TrainState], replicas: list[Replica]
) -> list[Replica]:
    """Evaluates all replicas; logs and selects networks."""
    begun, done = run.clock(), []
    networks = program.networks(states)
    split = run.data.validation
    found = _processes.from_first(lambda: [m for m, _ in program.predict_all(networks, split)])
    ended = run.clock()
    seconds, compiled = ended.time - begun.time, ended.compiled - begun.compiled
    for replica, network, metrics in zip(replicas, networks, found, strict=True):
        now, best = replica.counters, replica.selected
        line, selected = select_best(program, network, metrics, now, best)
        replica = replica.charged(compile_s=compiled).logged(line, seconds)
        values = (*replica.values, (line["step"], line[program.metric.name]))
        done.append(replica._replace(selected=selected, values=values, loss=line["loss"]))
    return done


def _evaluation_text(replica: Replica, metric: Metric) -> str:
    value, density = replica.values[-1][1], replica.counters.density
    return f"validation {metric.text(value)}, density {density:.4f}"


def _on_eval(
    program: Program,
    placed: TrainState,
    states: list[TrainState],
    replicas: list[Replica],
    data: Dataset,
) -> tuple[TrainState, list[TrainState]]:
    """Calls the method's `on_eval`; states are placed again only if one changed."""
    if program.on_eval is None:
        return placed, states
    reviewed = [
        program.on_eval(state, replica.loss, data.validation)
        for state, replica in zip(states, replicas, strict=True)
    ]
    if all(new is old for new, old in zip(reviewed, states, strict=True)):
        return placed, states
    return program.place(reviewed), reviewed
