"""What the steps of a run are fed with: numbers of examples on the device, or streamed examples.

Both are functions of seed and step, and in the same order. So a run that is resumed, or that goes
on with the other feed, has the same parameters, to the bit.
"""

import contextlib
import importlib.util
import os
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np
from absl import logging
from ml_collections import ConfigDict

from gpnas.data import Dataset, Split
from gpnas.errors import UserError
from gpnas.train import _placement
from gpnas.train._shuffle import Order

_FEEDS = ("auto", "device", "stream")
_FRACTION = 0.25  # of a device's memory; a larger training set is streamed
BYTES = 1 << 25  # of the examples that are sent to the devices at once
_THREADS = 4  # that read examples
_AHEAD = 8  # calls whose examples are read before they are asked for


def stream_steps(train: ConfigDict, data: Dataset, batch_size: int) -> int:
    """Steps whose examples are sent to the devices at once; 0 for a training set that lies there.

    Args:
      train: The config's `train`.
      data: The data set.
      batch_size: Examples per step.

    Raises:
      UserError: If `train.feed` is unknown.
    """
    if train.feed not in _FEEDS:
        raise UserError("train.feed", train.feed, ", ".join(_FEEDS))
    split = data.train
    size = split.inputs.nbytes + split.targets.nbytes
    fits = size <= _FRACTION * device_bytes()
    if train.feed == "device" or (train.feed == "auto" and fits):
        return 0
    most = min(train.log_every, len(split) // batch_size)
    return max(1, min(most, BYTES * len(split) // (size * batch_size)))


def device_bytes() -> int:
    """Memory of a device; of a CPU device, its part of the host's."""
    known = (jax.local_devices()[0].memory_stats() or {}).get("bytes_limit")
    host = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return known or host // jax.local_device_count()


def check_feed(train: ConfigDict, data: Dataset, stream: int) -> None:
    """Logs that examples are streamed, if they are.

    Args:
      train: The config's `train`.
      data: The data set.
      stream: Of the plan.

    Raises:
      UserError: If Grain, which streams them, is not installed.
    """
    if not stream:
        return
    size = f"{data.train.inputs.nbytes / 2**20:.0f} MiB of training inputs"
    if importlib.util.find_spec("grain") is None:
        allowed = f"device; or pip install 'gpnas[stream]', to stream {size}"
        raise UserError("train.feed", train.feed, allowed)
    logging.info("%s are streamed, %d steps at a time", size, stream)


def chunk_end(train: ConfigDict, per_epoch: int, step: int) -> int:
    """The step after `step` at which something is logged, an epoch ends, or a trace does."""
    ends = (step - step % n + n for n in (train.log_every, per_epoch))
    return min(*ends, *(at for at in train.profile if at > step))


def call_bounds(train: ConfigDict, per_epoch: int, stream: int, step: int, total: int) -> list[int]:
    """The steps from `step` to `total` at which a call of the compiled programs begins or ends.

    Args:
      train: The config's `train`.
      per_epoch: Steps of an epoch.
      stream: Steps whose examples are sent at once; 0: any number.
      step, total: Of the run, done and in all.
    """
    bounds = [step]
    while bounds[-1] < total:
        at = bounds[-1]
        end = chunk_end(train, per_epoch, at)
        bounds.append(min(end, at - at % stream + stream) if stream else end)
    return bounds


@contextlib.contextmanager
def open_feed(
    split: Split, orders: Sequence[Order], bounds: Sequence[int], rows: int, stream: bool
) -> Iterator[Iterator[tuple[int, Any]]]:
    """Yields an iterator over the calls of a run: `(steps, rows)`, for `Program.run`.

    Args:
      split: The training set.
      orders: Batch order of each seed.
      bounds: Of the calls, see `call_bounds`.
      rows: The most steps of a call; all calls have as many rows, so that they share a program.
      stream: Whether rows are the examples, read by threads ahead of the devices, or their numbers.
    """
    counts = np.diff(bounds).tolist()

    def numbers(i: int) -> np.ndarray:
        found = np.stack([order(bounds[i], counts[i]) for order in orders])
        own = found[..., _placement.own_columns(found.shape[-1])]
        return np.pad(own, ((0, 0), (0, rows - counts[i]), (0, 0)))

    def read(i: int) -> tuple[np.ndarray, np.ndarray]:
        index = numbers(i)
        return split.inputs.take(index, 0), split.targets.take(index, 0)

    if not stream:
        yield ((count, numbers(i)) for i, count in enumerate(counts))
        return
    import grain

    ahead = grain.ReadOptions(num_threads=_THREADS, prefetch_buffer_size=_AHEAD)
    examples = iter(grain.MapDataset.range(len(counts)).map(read).to_iter_dataset(ahead))
    try:
        yield zip(counts, examples, strict=False)  # the end of `counts` is the end
    finally:
        examples.close()
