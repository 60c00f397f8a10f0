"""The study `coupling` on LeNet-5, at 1 % of the weights.

Fashion-MNIST, 10 epochs, five paired seeds; one weight decay for all arms, not chosen on
validation. Layers have densities by ERK in all arms, so that training FLOPs are known before the
runs. About seven minutes a run on a CPU core.

    python experiments/reproduce.py coupling_lenet5
"""

import functools
import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict
from scipy.optimize import brentq

from configs import lenet5
from experiments.studies.coupling.arms import ARMS as ALL
from experiments.studies.coupling.arms import EPOCHS, OURS, STEPS, config_of
from gpnas.masks import allocate
from gpnas.methods import build
from gpnas.train import study
from gpnas.units import training_macs

ARMS = (OURS, "GMP sparse start", "GraNet matched", "random growth")
DENSITIES = (0.01,)
WEIGHT_DECAY = 0.0005  # the value chosen for most arms of `coupling`
_SHAPES = {
    "Conv_0/kernel": (5, 5, 1, 20),
    "Conv_1/kernel": (5, 5, 20, 50),
    "Dense_0/kernel": (800, 500),
    "Dense_1/kernel": (500, 10),
}
_MACS = {"Conv_0/kernel": 24 * 24, "Conv_1/kernel": 8 * 8}  # per weight; 1 for the others
_STEPS = STEPS * EPOCHS


def get_config() -> ConfigDict:
    """Returns each arm at each density; the density follows the @."""
    arms = {}
    for density in DENSITIES:
        goal = relative_flops(_config(OURS, density).method.to_dict())
        for name in ARMS:
            config = _config(name, density)
            if name != OURS:
                field = ALL[name].solved
                settings = json.dumps(config.method.to_dict(), sort_keys=True)
                config.method[field] = _solution(settings, field, goal)
            arms[f"{name}@{density:g}"] = config
    return study("coupling_lenet5", arms, densities=(), seeds=(0, 1, 2, 3, 4))


def relative_flops(method: dict[str, Any]) -> float:
    """Returns the training FLOPs of a method with densities by ERK, relative to dense training.

    `gpnas.methods.relative_flops` takes the same density for all layers, which here is wrong: a
    weight of a convolution has up to 576 times the MACs of a weight of a dense layer.

    Args:
      method: Settings of the method.
    """
    forecast = build(method, total_steps=_STEPS, batch_size=128, shapes=_SHAPES).forecast
    sizes, split = allocate.leaf_sizes(_SHAPES), allocate.erk()
    whole = float(np.dot([_MACS.get(name, 1) for name in _SHAPES], sizes))

    def active(step: jax.Array) -> jax.Array:
        counts = split(_SHAPES, forecast.density(step))
        macs = [_MACS.get(name, 1) * count for (name,), count in counts.items()]
        return jnp.sum(jnp.stack(macs)) / whole

    return training_macs(active, forecast.dense_gradient, _STEPS)[0]


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
    found = brentq(
        lambda value: relative_flops(method | {field: value}) - goal, *between, rtol=1e-3
    )
    return float(f"{found:.4g}")
