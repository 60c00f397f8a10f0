"""`train.parallel = "pmap"`: code specific to pmap; `jit` over a mesh is the default."""

import functools
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from gpnas.errors import UserError
from gpnas.train import _placement
from gpnas.train._segments import Body, many_steps
from gpnas.train._state import TrainState
from gpnas.train._step import Metrics


def axis_of(train: ConfigDict) -> str | None:
    """Returns the name of the mapped device axis; None under `jit`, which shards the batch.

    Raises:
      UserError: If `train.parallel` is unknown, or `pmap` does not support another setting.
    """
    if train.parallel == "jit":
        return None
    for field, fine, allowed in (
        ("parallel", train.parallel == "pmap", "jit, pmap"),
        ("loop", train.loop != "segments", "auto, scan, steps, where train.parallel=pmap"),
        ("shard_min_size", not train.shard_min_size, "0, where train.parallel=pmap"),
    ):
        if not fine:
            raise UserError(f"train.{field}", train[field], allowed)
    return _placement.AXIS


def with_pmap(bodies: dict[str, Body], loop: str, resident: Any, zero: Metrics) -> tuple:
    """Returns the functions `place`, `view`, `fetch`, `run` and `executables` of a `Program`.

    Args:
      bodies: Step by kind, for a mapped axis.
      loop: "scan" or "steps".
      resident: Training inputs and targets on each device.
      zero: Sums of metrics before the first step.
    """
    devices = jax.local_device_count()
    spread = jax.pmap(lambda _, x: x, axis_name=_placement.AXIS, in_axes=(0, None))
    replicate = functools.partial(spread, np.arange(devices))
    inputs, targets = replicate(resident)
    in_axes = (0, 0, 0, 0, 0, None, None)
    wrap = functools.partial(jax.pmap, axis_name=_placement.AXIS, in_axes=in_axes, donate_argnums=0)
    run_rows, executables = many_steps(bodies, loop, 1, wrap, replicate(zero), None)

    def run(
        state: TrainState, rows: Any, steps: int, step: int | None = None
    ) -> tuple[TrainState, Metrics]:
        del step
        by_device = jax.tree.map(
            lambda x: x[0].reshape(x.shape[1], devices, -1, *x.shape[3:]).swapaxes(0, 1), rows
        )
        state, sums = run_rows(state, inputs, targets, by_device, steps, 0)
        return state, _placement.on_first_device(sums)

    def view(state: TrainState) -> TrainState:
        return jax.tree.map(lambda x: x[0], _placement.on_first_device(state))

    def fetch(state: TrainState) -> list[TrainState]:
        return [view(state)]

    return lambda states: replicate(states[0]), view, fetch, run, executables
