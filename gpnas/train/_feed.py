"""Input of the training steps: indices of examples on the device, or streamed examples.

Both are functions of seed and step, with the same order of examples. A run that is resumed, also
with the other feed, has the same parameters: bit-identical on one CPU device, else up to rounding.
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
from gpnas.errors import UserError, check_choice
from gpnas.train import _placement
from gpnas.train._shuffle import Order

_FEEDS = ("auto", "device", "stream")
_FRACTION = 0.25  # of a device's memory; larger training sets are streamed
BYTES = 1 << 25  # size of the examples sent to the devices at once
_THREADS = 4  # threads that read examples
_AHEAD = 8  # number of calls whose examples are prefetched


def stream_steps(train: ConfigDict, data: Dataset, batch_size: int) -> int:
    """Returns the steps whose examples are sent to the devices at once; 0: all data are on devices.

    Args:
      train: The config's `train`.
      data: The data set.
      batch_size: Examples per step.

    Raises:
      UserError: If `train.feed` is unknown.
    """
    check_choice("train.feed", train.feed, _FEEDS)
    split = data.train
    size = split.inputs.nbytes + split.targets.nbytes
    fits = size <= _FRACTION * device_bytes()
    if train.feed == "device" or (train.feed == "auto" and fits):
        return 0
    most = min(train.log_every, len(split) // batch_size)
    return max(1, min(most, BYTES * len(split) // (size * batch_size)))


def device_bytes() -> int:
    """Returns the memory of a device; of a CPU device, its share of the host's memory."""
    known = (jax.local_devices()[0].memory_stats() or {}).get("bytes_limit")
    host = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return known or host // jax.local_device_count()


def check_feed(train: ConfigDict, data: Dataset, stream: int) -> None:
    """Logs whether examples are streamed.

    Args:
      train: The config's `train`.
      data: The data set.
      stream: `Plan.stream`.

    Raises:
      UserError: If Grain, which streaming requires, is not installed.
    """
    if not stream:
        return
    size = f"{data.train.inputs.nbytes / 2**20:.0f} MiB of training inputs"
    if importlib.util.find_spec("grain") is None:
        allowed = f"device; or pip install 'gpnas[stream]', to stream {size}"
        raise UserError("train.feed", train.feed, allowed)
    logging.info("%s are streamed, %d steps at a time", size, stream)


def chunk_end(train: ConfigDict, per_epoch: int, step: int) -> int:
    """Returns the first step after `step` with a log line, or at the end of an epoch or trace."""
    ends = (step - step % n + n for n in (train.log_every, per_epoch))
    return min(*ends, *(at for at in train.profile if at > step))


def call_bounds(train: ConfigDict, per_epoch: int, stream: int, step: int, total: int) -> list[int]:
    """Returns the steps from `step` to `total` at which calls of compiled programs begin or end.

    Args:
      train: The config's `train`.
      per_epoch: Steps per epoch.
      stream: Steps whose examples are sent at once; 0: no limit.
      step, total: Steps done, and length of the run.
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
      bounds: Bounds of the calls, see `call_bounds`.
      rows: Largest number of steps of a call; all calls are padded to this number of rows, so that
        they share a program.
      stream: Whether rows are examples, prefetched by threads; otherwise they are indices.
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
        yield zip(counts, examples, strict=False)  # ends with `counts`
    finally:
        examples.close()
