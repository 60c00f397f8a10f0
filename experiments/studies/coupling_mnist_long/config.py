"""The study `coupling_mnist` with runs of 50 instead of 10 epochs, at 1 and 0.5 %.

Five paired seeds; weight decay chosen by `coupling_mnist_long_tuning`. About 50 minutes on a CPU
core.

    python experiments/reproduce.py coupling_mnist_long
"""

from ml_collections import ConfigDict

from experiments.studies.coupling.arms import EPOCHS, OURS, config_of, target
from gpnas.train import study

ARMS = (OURS, "GMP sparse start", "GraNet matched", "random growth")
DENSITIES = (0.01, 0.005)
LENGTH = 50  # epochs
SEEDS = (0, 1, 2, 3, 4)
#: Weight decay chosen on validation by `coupling_mnist_long_tuning`.
CHOSEN: dict[str, float] = {}


def long_config(name: str, density: float, weight_decay: float) -> ConfigDict:
    """Returns an arm's config for MNIST; its relative training FLOPs are those of 10 epochs."""
    flops = target(density) * LENGTH / EPOCHS
    config = config_of(name, density, weight_decay, epochs=LENGTH, flops=flops)
    config.data.name = "mnist"
    return config


def get_config() -> ConfigDict:
    """Returns each arm at each density; the density follows the @."""
    arms = {
        f"{name}@{density:g}": long_config(name, density, CHOSEN[name])
        for density in DENSITIES
        for name in ARMS
    }
    return study("coupling_mnist_long", arms, densities=(), seeds=SEEDS)
