"""A whole run: how often it compiles, and how much of a bare loop's speed is left."""

import dataclasses
import functools
import pathlib
import tempfile
import time
from typing import Any

import jax
import numpy as np
import optax
from ml_collections import ConfigDict

from gpnas.benchmark.measure import Compiling, Measurement, Options
from gpnas.benchmark.subjects import BATCH, batches, fashion_mnist, plain
from gpnas.data import Dataset, load
from gpnas.methods import Method
from gpnas.methods.development import development
from gpnas.train import train

_TARGET = 0.9
_traces = 0


@functools.wraps(development)
def counted_development(**settings: Any) -> Method:
    """Development, with an optimizer that counts how often it is traced: once a step's trace."""

    def wrap(tx: optax.GradientTransformation) -> optax.GradientTransformation:
        def update(*args: Any, **extra: Any) -> Any:
            global _traces
            _traces += 1
            return optax.with_extra_args_support(tx).update(*args, **extra)

        return optax.GradientTransformationExtraArgs(tx.init, update)

    return development(**settings)._replace(wrap=wrap)


def compilations(options: Options) -> Measurement:
    """Traces of the step and executables of the program, whichever are more, in one whole run."""
    global _traces
    config = options.configs["development"]()
    config.method.name = f"{__name__}:counted_development"
    config.method.every, config.method.window = 10, 5
    config.data.name, config.train.batch_size, config.train.log_every = "digits", 32, 10
    config.train.epochs, config.train.tensorboard = 2 if options.fast else 8, False
    data = load("digits")
    _traces = 0
    with tempfile.TemporaryDirectory() as folder:
        record = train(config, pathlib.Path(folder) / "run", data)
    densities = [point["density"] for point in record["curve"]]
    value = max(_traces, record["compilations"])
    return Measurement(
        "compilations", value, "compilations a run", "1", value == 1,
        {
            "traces_of_step": _traces,
            "executables": record["compilations"],
            "steps": record["total_steps"],
            "lowest_density": min(densities),
            "highest_density": max(densities),
        },
    )  # fmt: skip


def loop_ratio(options: Options) -> Measurement:
    """Images a second of `gpnas.train.train`, all that it does included, over a bare loop's.

    Ours is the wall time of the whole call less the time in which jax traced and compiled; it has
    the set-up, masks, events, logging, evaluations, checkpoints and the record in it. The bare one
    is compiled before; it does the same steps, dense, and the same evaluations after each epoch and
    of the test images at the end. Both in turn, and the median of each.
    """
    data = fashion_mnist(options)
    config = options.configs["development"]()
    config.train.batch_size = BATCH
    config.data.name = data.name
    if options.fast:
        config.train.epochs = 1
        config.method.every = config.train.log_every = config.method.window = 5
    steps = len(data.train) // BATCH * config.train.epochs
    bare = _bare(config, data)
    bare()
    ours, compiled, theirs = [], [], []
    for _ in range(1 if options.fast else 3):
        compiling = Compiling()
        with tempfile.TemporaryDirectory() as folder, compiling.watch():
            begun = time.perf_counter()
            train(config, pathlib.Path(folder) / "run", data)
            whole = time.perf_counter() - begun
        ours.append(steps * BATCH / (whole - compiling.seconds))
        compiled.append(round(compiling.seconds, 3))
        begun = time.perf_counter()
        bare()
        theirs.append(steps * BATCH / (time.perf_counter() - begun))
    value = float(np.median(ours) / np.median(theirs))
    return Measurement(
        "loop_ratio", value, "images a second, ours / bare loop", f"≥ {_TARGET}", value >= _TARGET,
        {
            "images_per_s": [round(x) for x in ours],
            "images_per_s_bare": [round(x) for x in theirs],
            "compile_s": compiled,
            "steps": steps,
            "images": data.name,
        },
    )  # fmt: skip


def _bare(config: ConfigDict, data: Dataset) -> Any:
    loop = plain(config, data)
    epochs, per_epoch = config.train.epochs, len(data.train) // BATCH
    held_out, test = ((dataclasses.astuple(s)) for s in (data.validation, data.test))
    size = min(1000, len(data.test))

    def look(state: Any, images: np.ndarray, labels: np.ndarray) -> np.ndarray:
        parts = [loop.evaluate(state, images[at], labels[at]) for at in batches(images, size)]
        return np.sum(jax.device_get(parts), 0)

    def run() -> None:
        state, rng = loop.init(), np.random.default_rng(0)
        for _ in range(epochs):
            order = rng.permutation(len(data.train))[: per_epoch * BATCH]
            state, sums = loop.run(state, order.astype(np.int32).reshape(per_epoch, BATCH))
            if not np.isfinite(jax.device_get(sums)).all():
                raise RuntimeError("the bare loop diverged")
            look(state, *held_out)
        look(state, *test)

    return run
