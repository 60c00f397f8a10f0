"""Whole runs: number of compilations, and speed relative to a plain loop."""

import functools
import pathlib
import statistics
import tempfile
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import optax
from ml_collections import ConfigDict

from gpnas.data import Dataset, Split, load
from gpnas.methods import Method, development
from gpnas.train import train, train_replicas

from .measure import Measurement, Options, by_backend, compiling, ratio
from .subjects import BATCH, every, fashion_mnist, plain

_CPU, _ACCELERATOR = 0.9, 1.0
_OF_SCAN = 0.9  # limit on an accelerator
_traces = 0


@functools.wraps(development.development)
def counted_development(**settings: Any) -> Method:
    """Returns development with an optimizer that counts its traces: one per trace of a step."""

    def wrap(tx: optax.GradientTransformation) -> optax.GradientTransformation:
        def update(*args: Any, **extra: Any) -> Any:
            global _traces
            _traces += 1
            return optax.with_extra_args_support(tx).update(*args, **extra)

        return optax.GradientTransformationExtraArgs(tx.init, update)

    return development.development(**settings)._replace(wrap=wrap)


def compilations(options: Options) -> Measurement:
    """Number of traces of the step or executables of the program, the larger, in one run."""
    global _traces
    config = options.configs["development"]()
    config.method.name = f"{__name__}:counted_development"
    every(config, 10)
    config.data.name, config.train.batch_size, config.train.log_every = "digits", 32, 10
    config.train.epochs, config.train.tensorboard = 2 if options.fast else 8, False
    data = load("digits")
    _traces = 0
    with tempfile.TemporaryDirectory() as folder:
        record = train(config, pathlib.Path(folder) / "run", data)
    densities = [point["density"] for point in record["curve"]]
    value = max(_traces, record["compilations"])
    return Measurement(
        "compilations", value, "compilations a run", "≤ 4", value <= 4,
        {
            "traces_of_step": _traces,
            "executables": record["compilations"],
            "steps": record["total_steps"],
            "lowest_density": min(densities),
            "highest_density": max(densities),
        },
    )  # fmt: skip


def loop_ratio(options: Options) -> Measurement:
    """Images per second of `gpnas.train.train`, everything included, over those of a plain loop.

    The time of gpnas is the wall time of the whole call without tracing and compilation (from JAX's
    events). It includes set-up, masks, mask updates, logging, evaluations, checkpoints and the
    record. The plain loop, compiled before, calls a jitted dense step per batch for as many steps
    on images on the device, and has the same evaluations after each epoch and on the test images at
    the end. The details include the ratio to the fastest loop: the plain loop with each epoch as
    one compiled program. Runs alternate, and medians are reported.
    """
    data = fashion_mnist(options)
    config = options.configs["development"]()
    config.train.batch_size = BATCH
    config.data.name = data.name
    if options.fast:
        config.train.epochs, config.train.log_every = 1, 5
        every(config, 5)
    compiled: list[float] = []

    def ours() -> float:
        seconds, compile_s = whole_run(config, data)
        compiled.append(round(compile_s, 3))
        return seconds

    plain_loops = {loop: plain_run(config, data, loop) for loop in ("steps", "scan")}
    for run in plain_loops.values():
        run()
    taken: dict[str, list[float]] = {"gpnas": [], "steps": [], "scan": []}
    for _ in range(1 if options.fast else 5):
        taken["gpnas"].append(ours())
        for loop, run in plain_loops.items():
            taken[loop].append(seconds_of(run))
    value, of_scan = (1 / ratio(taken, "gpnas", loop) for loop in plain_loops)
    target, least = by_backend(_CPU, _ACCELERATOR), by_backend(0, _OF_SCAN)
    steps = len(data.train) // BATCH * config.train.epochs
    return Measurement(
        "loop_ratio", value, "images a second, ours / plain loop",
        f"≥ {target}" + f", and ≥ {least} of compiled epochs" * bool(least),
        value >= target and of_scan >= least,
        {
            "images_per_s": {
                name: round(steps * BATCH / statistics.median(t)) for name, t in taken.items()
            },
            "ratio_to_compiled_epochs": of_scan,
            "compile_s": compiled,
            "steps": steps,
            "images": data.name,
        },
    )  # fmt: skip


def whole_run(config: ConfigDict, data: Dataset, replicas: int = 1) -> tuple[float, float]:
    """Returns the seconds of a run of `replicas` seeds without compilation, and of compilation."""
    configs = [config.copy_and_resolve_references() for _ in range(replicas)]
    for seed, own in enumerate(configs):
        own.seed = seed
    with tempfile.TemporaryDirectory() as folder, compiling() as compile_s:
        folders = [pathlib.Path(folder) / f"run{seed}" for seed in range(replicas)]
        seconds = seconds_of(lambda: train_replicas(configs, folders, data))
    return seconds - compile_s(), compile_s()


def seconds_of(run: Callable[[], Any]) -> float:
    """Returns the seconds of a call."""
    begun = time.perf_counter()
    run()
    return time.perf_counter() - begun


def plain_run(
    config: ConfigDict, data: Dataset, kind: str, replicas: int = 1
) -> Callable[[], None]:
    """Returns a run as a plain loop: all steps, an evaluation per epoch, and the test."""
    config = config.copy_and_resolve_references()
    config.train.loop = kind
    loop = plain(config, data, replicas)
    epochs, per_epoch = config.train.epochs, len(data.train) // BATCH
    size = min(1000, len(data.test))

    def evaluate(state: Any, split: Split) -> np.ndarray:
        cuts = [slice(start, start + size) for start in range(0, len(split) - size + 1, size)]
        sums = [loop.evaluate(state, split.inputs[cut], split.targets[cut]) for cut in cuts]
        return np.sum(jax.device_get(sums), 0)  # per replica

    def run() -> None:
        state, rng = loop.init(), np.random.default_rng(0)
        for _ in range(epochs):
            orders = [rng.permutation(len(data.train)) for _ in range(replicas)]
            cut = np.stack(orders)[:, : per_epoch * BATCH].astype(np.int32)
            index = cut.reshape(replicas, per_epoch, BATCH)
            state, sums = loop.run(state, index if replicas > 1 else index[0])
            if not np.isfinite(jax.device_get(sums)).all():
                raise RuntimeError("the plain loop diverged")
            evaluate(state, data.validation)
        evaluate(state, data.test)

    return run
