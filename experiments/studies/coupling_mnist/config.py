"""The study `coupling` on MNIST: arms of equal training FLOPs.

LeNet-300-100, 10 epochs, five densities, 20 paired seeds; weight decay as chosen by
`coupling_tuning`, on Fashion-MNIST. About an hour and a half on 2 CPU cores.

    python experiments/reproduce.py coupling_mnist
"""

from ml_collections import ConfigDict

from experiments.studies.coupling.arms import (
    REPEATED,
    V_OF_ONE_BATCH,
    config_of,
)
from experiments.studies.coupling.config import SEEDS, weight_decay
from gpnas.train import study

ARMS = (*REPEATED, "magnitude and gradient", "pipeline", V_OF_ONE_BATCH)
DENSITIES = (0.01, 0.005, 0.02, 0.05, 0.002)


def get_config() -> ConfigDict:
    """Returns each arm at each density; the density follows the @."""
    arms = {}
    for density in DENSITIES:
        for name in ARMS:
            config = config_of(name, density, weight_decay(name, density))
            config.data.name = "mnist"
            arms[f"{name}@{density:g}"] = config
    return study("coupling_mnist", arms, densities=(), seeds=SEEDS)
