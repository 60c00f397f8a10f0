"""Tuning for `coupling_mnist_long`: the weight decay of each arm, on validation.

Three values at 1 %, two seeds not used by the study. Test errors are not used. About half an hour
on a CPU core.

    python experiments/reproduce.py coupling_mnist_long_tuning
"""

from ml_collections import ConfigDict

from experiments.studies.coupling_mnist_long.config import ARMS, long_config
from experiments.studies.coupling_tuning.config import WEIGHT_DECAYS
from gpnas.train import study

DENSITY = 0.01


def get_config() -> ConfigDict:
    """Returns one arm per setting; after the @: density and weight decay."""
    arms = {
        f"{name}@{DENSITY:g} {decay:g}": long_config(name, DENSITY, decay)
        for name in ARMS
        for decay in WEIGHT_DECAYS
    }
    return study("coupling_mnist_long_tuning", arms, densities=(), seeds=(100, 101))
