"""Latency of a front's networks in onnxruntime, with and without its blocks of channels."""

import functools
import pathlib
import statistics
import tempfile
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gpnas import deploy, models, units
from gpnas.records import read_lines

from .measure import Measurement, Options, interleave, require

Widths = tuple[int, int, int, int]

_TARGET = 0.6
_LEVEL = 0.25
_SHAPE = (14, 14, 1)
_BATCH = 64
_CALLS = 200
_TUNING_SEEDS = 100  # and above: not of the front's table


def front_latency_unblocked(options: Options) -> Measurement:
    """Speed-up over reduction of MACs of the front's 25 % networks, without blocks of channels.

    onnxruntime computes convolutions whose channels are a multiple of a block (16 with AVX-512) by
    faster programs; these are switched off. The networks have the widths that `front` found, with
    random weights. Batch 64, one thread.
    """
    require("deploy", "jax2onnx", "onnx", "onnxruntime")
    whole = models.ConvNet().widths
    found = sorted(_found(options)) or [(8, 16, 16, 32)]
    with tempfile.TemporaryDirectory() as folder:
        macs, files = {}, {}
        for widths in [whole, *found[: 1 if options.fast else None]]:
            files[widths] = pathlib.Path(folder) / f"{'-'.join(map(str, widths))}.onnx"
            macs[widths] = _export(widths, files[widths])
        images = np.random.default_rng(0).normal(size=(_BATCH, *_SHAPE)).astype(np.float32)
        calls = {
            f"{'blocked' if blocked else 'unblocked'} {path.stem}": _session(path, blocked, images)
            for path in files.values()
            for blocked in (True, False)
        }
        taken = interleave(calls, 10 if options.fast else _CALLS)
    best = {name: min(times) for name, times in taken.items()}

    def of_reduction(kind: str) -> float:
        """Returns the median over networks of speed-up ÷ reduction of MACs."""
        names = {widths: f"{kind} {path.stem}" for widths, path in files.items()}
        return statistics.median(
            best[names[whole]] / best[names[widths]] * macs[widths] / macs[whole]
            for widths in files
            if widths != whole
        )

    value = of_reduction("unblocked")
    details = {
        "blocked": of_reduction("blocked"),
        "minimum_ms": {name: round(1e3 * seconds, 4) for name, seconds in best.items()},
    }
    return Measurement(
        "front_latency_unblocked", value, "speed-up / reduction of MACs at 25 %", f"≥ {_TARGET}",
        value >= _TARGET, details,
    )  # fmt: skip


def _found(options: Options) -> set[Widths]:
    """Returns the widths of the networks of the arm `front` at the level."""
    records = read_lines(options.results / "front" / "records.jsonl")
    return {
        tuple(network["model"]["widths"])
        for record in records
        if record["arm"] == "front" and record["seed"] < _TUNING_SEEDS
        for network in record["networks"]
        if network["level"] == _LEVEL
    }


def _export(widths: Widths, path: pathlib.Path) -> int:
    """Writes a network with random weights as ONNX; returns its MACs per image."""
    model = models.linen(models.ConvNet(widths=widths))
    image = jnp.zeros((1, *_SHAPE))
    variables = model.init(jax.random.key(0), image)
    deploy.to_onnx(model.infer, variables, _SHAPE, path)
    return round(units.macs(model.infer, variables, image).total(variables))


def _session(path: pathlib.Path, blocked: bool, images: np.ndarray) -> Callable[[], Any]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    if not blocked:
        levels = onnxruntime.GraphOptimizationLevel
        options.graph_optimization_level = levels.ORT_ENABLE_EXTENDED
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return functools.partial(session.run, None, {"images": images})
