"""Whether seeds train faster at once or one after the other: measured, on the device in use.

`vmap` lets small networks share the overhead of a step. Of convolutions it makes grouped ones,
which may be slower than one network after the other.
"""

import hashlib
import json
import time
from collections.abc import Callable

import jax
from absl import logging
from ml_collections import ConfigDict

from gpnas._files import append_line, cache_home, read_lines, sealed
from gpnas.data import Dataset
from gpnas.train._feed import open_feed
from gpnas.train._plan import Plan
from gpnas.train._program import make_program
from gpnas.train._shuffle import batch_order

_FASTER = 0.9  # seeds wait for each other, so that a record comes late: this must be made up for
_NEVER = 1e12  # milliseconds
_STEPS, _SECONDS = 64, 0.2  # of a measurement: at most, at least


def faster_together(config: ConfigDict, data: Dataset, plan: Plan, replicas: int) -> bool:
    """Whether seeds train faster as replicas of one program than one after the other.

    Steps of both are timed once; the times are kept in `replicas.jsonl` of the user's cache folder.

    Args:
      config: Of one of the seeds.
      data: Their data set.
      plan: Of that seed.
      replicas: Number of seeds.
    """
    path, key = cache_home() / "replicas.jsonl", _key(config, plan, replicas)
    known = next((line for line in read_lines(path) if line.get("key") == key), None)
    if known is None:
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
    """Digest of what the times depend on: device, versions, network, batch and number of seeds."""
    devices = [device.device_kind for device in jax.devices()]
    network = jax.tree.map(lambda x: f"{x.dtype}{x.shape}", (plan.variables, plan.inputs))
    about = [devices, jax.__version__, config.model.to_dict(), config.train.matmul_precision]
    known = [*about, str(network), plan.batch_size, replicas]
    return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()


def milliseconds(plan: Plan, data: Dataset, replicas: int) -> float:
    """Time of a step of so many replicas, compiled before; `_NEVER` without the memory for it."""
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
    """Seconds of a step: of so many that they take long enough to be timed, but at most `most`."""
    seconds(1)  # compiles
    steps, taken = 1, seconds(1)
    while taken < _SECONDS and steps < most:
        steps = min(4 * steps, most)
        taken = seconds(steps)
    return taken / steps
