"""The study `coupling` on LeNet-5, at 1 % of the weights.

Fashion-MNIST, 10 epochs, five paired seeds; one weight decay for all arms, not chosen on
validation. Layers have densities by ERK in all arms, so that training FLOPs are known before the
runs. About seven minutes a run on a CPU core.

    python experiments/reproduce.py coupling_lenet5
"""

import functools
import json
from typing import Any

from ml_collections import ConfigDict

from configs import lenet5
from experiments.studies.coupling.arms import ARMS as ALL
from experiments.studies.coupling.arms import EPOCHS, OURS, STEPS, config_of
from gpnas.methods import match_flops, relative_flops
from gpnas.train import study

ARMS = (OURS, "GMP sparse start", "GraNet matched", "random growth")
DENSITIES = (0.01,)
WEIGHT_DECAY = 0.0005  # the value chosen for most arms of `coupling`
_SHAPES = {
    "Conv_0/kernel": (5, 5, 1, 20),
    "Conv_1/kernel": (5, 5, 20, 50),
    "Dense_0/kernel": (800, 500),
    "Dense_1/kernel": (500, 10),
}
_MACS = {"Conv_0/kernel": 576, "Conv_1/kernel": 64, "Dense_0/kernel": 1, "Dense_1/kernel": 1}
_RUN: dict[str, Any] = {
    "total_steps": STEPS * EPOCHS,
    "batch_size": 128,
    "shapes": _SHAPES,
    "macs": _MACS,
}


def get_config() -> ConfigDict:
    """Returns each arm at each density; the density follows the @."""
    arms = {}
    for density in DENSITIES:
        goal = relative_flops(_config(OURS, density).method.to_dict(), **_RUN)
        for name in ARMS:
            config = _config(name, density)
            if name != OURS:
                field = ALL[name].solved
                settings = json.dumps(config.method.to_dict(), sort_keys=True)
                config.method[field] = _solution(settings, field, goal)
            arms[f"{name}@{density:g}"] = config
    return study("coupling_lenet5", arms, densities=(), seeds=(0, 1, 2, 3, 4))


def _config(name: str, density: float) -> ConfigDict:
    """Returns an arm with the training FLOPs of LeNet-300's."""
    config, network = config_of(name, density, WEIGHT_DECAY), lenet5.get_config()
    config.model.name = network.model.name
    config.optimizer.update(
        learning_rate=network.optimizer.learning_rate,
        warmup_at=network.optimizer.warmup_at,
        clip_norm=network.optimizer.clip_norm,
    )
    config.method.allocation = "erk"
    return config


@functools.cache  # tests ask for the config many times
def _solution(settings: str, field: str, goal: float) -> float:
    """Returns the value of the field, to four digits, at which the method has these FLOPs."""
    method = json.loads(settings)
    density = method["density"]
    between = {"first": (density, 1.0), "peak": (1.0, 1 / density)}[field]
    return float(f"{match_flops(method, goal, field, between, **_RUN)[field]:.4g}")
