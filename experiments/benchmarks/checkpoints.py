"""Cost of checkpoints: synchronous and asynchronous saving."""

import functools
import pathlib
import statistics
import tempfile
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp

from gpnas.train import make_plan, make_program

from .measure import Measurement, Options, interleave, summary
from .subjects import config_of, fashion_mnist, rows

_SECONDS, _SAVES = 15.0, 20  # least time between two checkpoints: in seconds, and in saving times
_NETWORKS = {"lenet300": ((300, 100), 1000), "25M": ((2800, 2800, 2800, 2500), 10)}


def checkpoint_async(options: Options) -> Measurement:
    """Time that asynchronous saving would save, in % of a run; the larger of two networks.

    Orbax writes the state of development in the foreground, or in the background of the next steps.
    A run saves every 15 s, or every 20 saving times.
    """
    details: dict = {}
    for name, (widths, steps) in _NETWORKS.items():
        steps, rounds = (2, 1) if options.fast else (steps, 5)
        with tempfile.TemporaryDirectory() as folder:
            made, weights = _runs(options, widths, steps, pathlib.Path(folder))
            taken = interleave(made, rounds)
        none, sync, background = (statistics.median(taken[way]) for way in made)
        saved = 100 * (sync - background) / max(_SECONDS, _SAVES * (sync - none))
        details[name] = summary(taken) | {"weights": weights, "steps": steps, "saved": saved}
    value = max(found["saved"] for found in details.values())
    return Measurement("checkpoint_async", value, "% of a run", "≤ 5", value <= 5, details)


def _runs(
    options: Options, widths: tuple[int, ...], steps: int, folder: pathlib.Path
) -> tuple[dict[str, Callable[[], Any]], int]:
    """Returns steps after no save, a foreground or a background save; and the number of weights."""
    config, data = config_of(options, "development", "lenet300"), fashion_mnist(options)
    config.model.widths = (32, 16) if options.fast else widths
    program = make_program(make_plan(config, data), data)
    state = program.place(program.init([jax.random.key(0)]))
    index, number = rows(data, steps), 0

    def once(way: str) -> Any:
        nonlocal state, number
        number += 1
        asynchronous = way == "background"
        managing = ocp.CheckpointManagerOptions(
            max_to_keep=1, enable_async_checkpointing=asynchronous
        )
        with ocp.CheckpointManager(folder / way, options=managing) as manager:
            if way != "none":  # the next step reuses the memory of this state
                (kept,) = program.fetch(state)
                kept = jax.tree.map(jnp.copy, kept) if asynchronous else kept
                manager.save(number, args=ocp.args.StandardSave(kept), force=True)
            state, sums = program.run(state, index, steps)
            jax.block_until_ready((state, sums))
        return sums

    size = sum(x.size for x in jax.tree.leaves(state.params))
    ways = ("none", "foreground", "background")
    return {way: functools.partial(once, way) for way in ways}, size
