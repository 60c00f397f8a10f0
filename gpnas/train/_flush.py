"""Lines of metrics of chunks of steps: fetched together, written one by one."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
from absl import logging

from gpnas.train._goodput import Instant
from gpnas.train._observe import Counts, HostCounters, to_host, train_line
from gpnas.train._plan import Plan
from gpnas.train._run import Replica
from gpnas.train._step import Metrics

_LAG = 1.0  # seconds by which lines may lag behind the device


class Chunk(NamedTuple):
    """Steps that the device may still be at: where they end, how many, and what will come out.

    `learning_rate` is that of the last step.
    """

    step: int
    steps: int
    sums: Metrics
    counts: Counts
    learning_rate: jax.Array


def chunks_ahead(seconds: float | None) -> int:
    """Chunks that the device is given before the first of them is waited for.

    So many that lines of metrics are written every second: each fetch stops the host, and the
    device, too, if it has nothing else to do. A run is asked to stop within that time.

    Args:
      seconds: Of a chunk, if that is known.
    """
    if jax.process_count() > 1:  # which agree after each chunk whether to stop
        return 0
    if one_at_a_time():
        return 0
    return 1 if seconds is None else max(1, int(_LAG / max(seconds, 1e-6)))


def one_at_a_time() -> bool:
    """Whether a program must have ended before the next is launched: on virtual CPU devices.

    They share threads. A launch that waits for its turn (32 are admitted at once) can hold the
    thread that an earlier program's collective needs, and neither ends.
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
    """Logs what chunks came to, and says when the last of them was done.

    Seconds are those of all chunks together, shared among them by their steps.
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
    line = train_line(replica.counters, now, sums, plan.task.metric) | rates
    logged = replica.logged(line, spent)
    if now.skipped and not replica.counters.skipped:
        logging.warning(
            "gradients were not finite by step %d: statistics and mask updates skip such steps",
            now.step,
        )
    return logged._replace(counters=now)
