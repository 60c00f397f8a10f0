"""The study `coupling_tuning` on MNIST, for the arms of `coupling_confirmation`.

Three values of weight decay, three seeds that no other study of MNIST uses; the criterion is the
lowest mean validation error at the last step over 2 and 1 %, or over 0.5 and 0.2 %. About 15
minutes on 2 CPU cores.

    python experiments/reproduce.py coupling_tuning_mnist
"""

from ml_collections import ConfigDict

from experiments.studies.coupling.arms import SPARSEST, config_of
from experiments.studies.coupling_confirmation.config import ARMS
from experiments.studies.coupling_tuning.config import DENSITIES, SEEDS, WEIGHT_DECAYS
from gpnas.train import study


def get_config() -> ConfigDict:
    """Returns one arm per setting; after the @: density and weight decay."""
    arms = {}
    for name in ARMS:
        for density in (*DENSITIES, *SPARSEST):
            for decay in WEIGHT_DECAYS:
                config = config_of(name, density, decay)
                config.data.name = "mnist"
                arms[f"{name}@{density:g} {decay:g}"] = config
    return study("coupling_tuning_mnist", arms, densities=(), seeds=SEEDS)
