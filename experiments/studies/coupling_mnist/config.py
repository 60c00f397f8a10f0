"""The study `coupling` on MNIST: arms of equal training FLOPs at all densities, others at 2 %.

LeNet-300-100, 10 epochs, five densities, 20 paired seeds; weight decay as chosen by
`coupling_tuning`, on Fashion-MNIST. About two hours on 2 CPU cores.

    python experiments/reproduce.py coupling_mnist
"""

from ml_collections import ConfigDict

from experiments.studies.coupling.arms import (
    ARMS,
    MATCHED,
    OURS,
    WINDOW_1_HIGHER,
    config_of,
)
from experiments.studies.coupling.config import SEEDS, weight_decay
from gpnas.train import study

EQUAL_FLOPS = (OURS, *MATCHED, WINDOW_1_HIGHER)
OWN_FLOPS = tuple(name for name in ARMS if name not in EQUAL_FLOPS)
DENSITIES = (0.01, 0.005, 0.02, 0.05, 0.002)


def get_config() -> ConfigDict:
    """Returns the arms, each at its densities; the density follows the @."""
    at = dict.fromkeys(DENSITIES, EQUAL_FLOPS)
    at[0.02] += OWN_FLOPS
    arms = {"dense": config_of("dense", 1.0, weight_decay("dense", 1.0))}
    for density, names in at.items():
        arms |= {
            f"{name}@{density:g}": config_of(name, density, weight_decay(name, density))
            for name in names
        }
    for config in arms.values():
        config.data.name = "mnist"
    return study("coupling_mnist", arms, densities=(), seeds=SEEDS)
