"""Measures whether seeds train faster together or one after another, on the current device.

Under `vmap` small networks share the overhead of a step. Convolutions become grouped convolutions,
which may be slower than training one network after another.
"""

import time
from collections.abc import Callable

import jax
from absl import logging
from ml_collections import ConfigDict

from gpnas._files import append_line, cache_home, digest_of, read_lines, sealed
from gpnas.data import Dataset
from gpnas.train._deterministic import is_deterministic
from gpnas.train._feed import open_feed
from gpnas.train._plan import Plan
from gpnas.train._program import make_program, matmul_precision
from gpnas.train._shuffle import batch_order

_FASTER = 0.9  # seeds finish together, so records come later; requires a clear gain
_NEVER = 1e12  # milliseconds
_STEPS, _SECONDS = 64, 0.2  # most steps, and least duration of a measurement


def faster_together(config: ConfigDict, data: Dataset, plan: Plan, replicas: int) -> bool:
    """Returns whether seeds train faster as replicas of one program than one after another.

    Steps of both are timed once; the times are stored in `replicas.jsonl` in the user's cache
    folder.

    Args:
      config: Config of one seed.
      data: Their data set.
      plan: Plan of that seed.
      replicas: Number of seeds.
    """
    path, key = cache_home() / "replicas.jsonl", _key(config, plan, replicas)
    known = next((line for line in read_lines(path) if line.get("key") == key), None)
    if known is None:
        with matmul_precision(config.train):
            measured = {
                name: milliseconds(plan, data, count)
                for name, count in (("together_ms", replicas), ("one_ms", 1))
            }
        known = sealed({"key": key, "device": jax.devices()[0].device_kind, **measured})
        path.parent.mkdir(parents=True, exist_ok=True)
        append_line(path, known)
    together, one = known["together_ms"], known["one_ms"]
    faster = together < _FASTER * replicas * one
    logging.info(
        "%d seeds train %s: a step of all takes %.3g ms, of one %.3g ms (%s)",
        replicas, "at once" if faster else "one after the other", together, one, path,
    )  # fmt: skip
    return faster


def _key(config: ConfigDict, plan: Plan, replicas: int) -> str:
    """Returns a digest of device, versions, XLA's flag, network, batch and number of seeds."""
    devices = [device.device_kind for device in jax.devices()]
    network = jax.tree.map(lambda x: f"{x.dtype}{x.shape}", (plan.variables, plan.inputs))
    about = [devices, jax.__version__, config.model.to_dict(), config.train.matmul_precision]
    known = [*about, is_deterministic(), str(network), plan.batch_size, replicas]
    return digest_of(known)


def milliseconds(plan: Plan, data: Dataset, replicas: int) -> float:
    """Returns the time of a compiled step of `replicas`; `_NEVER` if memory is insufficient."""
    program = make_program(plan._replace(loop="steps", segments=None), data, replicas)
    orders = [batch_order(len(data.train), plan.batch_size, seed) for seed in range(replicas)]
    most = min(plan.stream or _STEPS, plan.steps_per_epoch)
    state = program.place(program.init([jax.random.key(seed) for seed in range(replicas)]))

    with open_feed(data.train, orders, [0, most], most, plan.stream > 0) as feed:
        _, rows = next(feed)

    def seconds(steps: int) -> float:
        nonlocal state
        begun = time.perf_counter()
        state, sums = program.run(state, rows, steps, 0)
        jax.block_until_ready((state, sums))
        return time.perf_counter() - begun

    try:
        return 1000 * _per_step(seconds, most)
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        return _NEVER


def _per_step(seconds: Callable[[int], float], most: int) -> float:
    """Returns the seconds per step, from enough steps for a reliable time, but at most `most`."""
    seconds(1)  # compilation
    steps, taken = 1, seconds(1)
    while taken < _SECONDS and steps < most:
        steps = min(4 * steps, most)
        taken = seconds(steps)
    return taken / steps
