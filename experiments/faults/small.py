"""Configs of small runs on the digits, for `--config=experiments/faults/small.py:KIND`."""

import optax
from ml_collections import ConfigDict

from gpnas.train import base, front_config, study

_DEVELOPMENT = {
    "name": "development", "density": 0.2, "peak": 3.0, "every": 5, "window": 3, "decay": 0.9,
}  # fmt: skip
_UNITS = {
    "name": "development_units", "density": 0.25, "every": 5, "window": 3,
    "peak_at": 0.35, "peak": 2.5,
}  # fmt: skip
_CHANGED = 30  # from this step the learning rate of `explode` is too large


def get_config(kind: str) -> ConfigDict:
    """Returns a run ("train", "elastic", "convolutions"), a study with replicas, or a "front"."""
    if kind == "sweep":
        arms = {"development": _run(base(**_DEVELOPMENT)), "dense": _run(base())}
        return study("small", arms, densities=(), seeds=(0, 1), replicas="on")
    if kind == "front":
        config = _run(front_config())
        config.front, config.branch_epochs, config.elastic_round_to = (0.5, 0.25), 2, 16
        config.elastic_min_flops = 0.0  # resized although so small a network gains nothing
        config.method.every, config.method.window = 5, 3
        return config
    config = _run(base(**(_UNITS if kind == "elastic" else _DEVELOPMENT)))
    config.elastic, config.elastic_round_to = kind == "elastic", 2
    if kind == "convolutions":
        config.model.name = "convnet"
        config.model.widths = (8, 16, 16, 32)
        config.train.deterministic = True
    return config


def _run(config: ConfigDict) -> ConfigDict:
    """Sets 160 steps, and a checkpoint every 20 steps."""
    config.data.name, config.train.epochs, config.train.batch_size = "digits", 8, 64
    config.model.name, config.model.widths = "lenet300", (32, 16)
    config.train.log_every, config.train.tensorboard = 7, False
    config.train.checkpoint_seconds, config.resume = 0.0, True
    return config


def explode(learning_rate: float, steps: int) -> optax.Schedule:
    """Returns a learning rate that becomes too large for any network during the run."""
    return optax.piecewise_constant_schedule(learning_rate, {_CHANGED: 1e30 / steps})
