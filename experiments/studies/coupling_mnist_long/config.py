"""The study `coupling_mnist` with runs of 50 instead of 10 epochs, at 1 and 0.5 %.

Five paired seeds; one weight decay for all arms, not chosen on validation. About 50 minutes on a
CPU core.

    python experiments/reproduce.py coupling_mnist_long
"""

from ml_collections import ConfigDict

from experiments.studies.coupling.arms import EPOCHS, config_of, target
from experiments.studies.coupling_mnist.config import ARMS
from gpnas.train import study

DENSITIES = (0.01, 0.005)
LENGTH = 50  # epochs
WEIGHT_DECAY = 0.0005  # the value chosen for most arms in runs of 10 epochs


def get_config() -> ConfigDict:
    """Returns each arm at each density, with the relative training FLOPs of runs of 10 epochs; the
    density follows the @."""
    arms = {}
    for density in DENSITIES:
        flops = target(density) * LENGTH / EPOCHS
        for name in ARMS:
            config = config_of(name, density, WEIGHT_DECAY, epochs=LENGTH, flops=flops)
            config.data.name = "mnist"
            arms[f"{name}@{density:g}"] = config
    return study("coupling_mnist_long", arms, densities=(), seeds=(0, 1, 2, 3, 4))
