"""Metrics lines of chunks of steps: fetched together, written one by one."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
from absl import logging

from gpnas.train._goodput import Instant
from gpnas.train._observe import DeviceCounters, HostCounters, to_host, train_line
from gpnas.train._plan import Plan
from gpnas.train._run import Replica
from gpnas.train._step import Metrics

_LAG = 1.0  # seconds; largest delay of lines behind the device


class Chunk(NamedTuple):
    """A chunk of steps that the device may still compute: end, length, and pending results.

    `learning_rate` is the rate of the last step.
    """

    step: int
    steps: int
    sums: Metrics
    counts: DeviceCounters
    learning_rate: jax.Array


def chunks_ahead(seconds: float | None) -> int:
    """Returns the number of chunks to dispatch before waiting for the first.

    Metrics lines are written about every second. Each fetch blocks the host, and leaves the device
    idle if no other work is queued. A run also responds to a stop request within that time.

    Args:
      seconds: Duration of a chunk; None if unknown.
    """
    if jax.process_count() > 1:  # processes agree after each chunk whether to stop
        return 0
    if one_at_a_time():
        return 0
    return 1 if seconds is None else max(1, int(_LAG / max(seconds, 1e-6)))


def one_at_a_time() -> bool:
    """Returns whether to wait for each program before launching the next: on virtual CPU devices.

    Virtual devices share threads. A launch that waits for admission (at most 32 run) can occupy the
    thread that a collective of an earlier program needs: a deadlock.
    """
    return jax.default_backend() == "cpu" and jax.device_count() > 1


def flush_metrics(
    replicas: list[Replica],
    chunks: Sequence[Chunk],
    plan: Plan,
    since: Instant,
    show: Callable,
    clock: Callable[[], Instant],
) -> tuple[list[Replica], Instant]:
    """Logs the results of chunks, and returns when the last of them was done.

    The total time is divided among the chunks in proportion to their steps.
    """
    fetched = jax.device_get([(one.sums, one.counts, one.learning_rate) for one in chunks])
    now, steps = clock(), sum(chunk.steps for chunk in chunks)
    compiled = now.compiled - since.compiled if chunks else 0.0
    replicas = [one.charged(compile_s=compiled) for one in replicas]
    for chunk, (sums, counts, learning_rate) in zip(chunks, fetched, strict=True):
        spent = (now.time - since.time) * chunk.steps / steps
        rates = {
            "learning_rate": float(f"{learning_rate:.7g}"),
            "images_per_s": round(chunk.steps * plan.batch_size * len(replicas) / spent, 1),
        }
        replicas = [
            log_interval(
                replica,
                to_host(counts, i, replica.counters.sizes, replica.counters.units),
                jax.tree.map(lambda x, i=i: x[i], sums), plan, spent, rates,
            )
            for i, replica in enumerate(replicas)
        ]  # fmt: skip
        show(chunk.step, "")
    return replicas, now if chunks else since


def log_interval(
    replica: Replica,
    now: HostCounters,
    sums: Metrics,
    plan: Plan,
    spent: float,
    rates: dict[str, float],
) -> Replica:
    """Writes the metrics line of one log interval and warns of the first non-finite gradients.

    Args:
      replica: The replica before the interval.
      now: Counters at the end of the interval.
      sums: Metrics summed over the steps of the interval.
      plan: The plan of the run.
      spent: Seconds of the interval.
      rates: Further fields of the line.

    Returns:
      The replica with the line and the new counters.

    Raises:
      Diverged: If the loss or metric is not finite.
    """
    line = train_line(replica.counters, now, sums, plan.task.metric) | rates
    logged = replica.logged(line, spent)
    if now.skipped and not replica.counters.skipped:
        logging.warning(
            "non-finite gradients by step %d: statistics and mask updates skip such steps",
            now.step,
        )
    return logged._replace(counters=now)
