"""Tuning for the confirmation of docs/coupling.md: the weight decay of each arm, on validation.

Five values, three seeds that the confirmation does not use; the criterion is the lowest mean
validation error at the last step over 2 and 1 %, or over 0.5 and 0.2 %. About 30 minutes on 2 CPU
cores.

    python experiments/reproduce.py coupling_tuning_confirmation
"""

from ml_collections import ConfigDict

from experiments.studies.coupling.arms import SPARSEST, config_of
from experiments.studies.coupling_confirmation.config import ARMS
from experiments.studies.coupling_tuning import config as tuning
from gpnas.train import study

WEIGHT_DECAYS = (*tuning.WEIGHT_DECAYS, 1e-3, 2e-3)


def get_config() -> ConfigDict:
    """Returns one arm per setting; after the @: density and weight decay."""
    return tuning_on("coupling_tuning_confirmation", "fashion_mnist")


def tuning_on(name: str, data: str) -> ConfigDict:
    """Returns the study on a data set.

    Args:
      name: Name of the study.
      data: Name of the data set.
    """
    arms = {}
    for arm in ARMS:
        for density in (*tuning.DENSITIES, *SPARSEST):
            for decay in WEIGHT_DECAYS:
                config = config_of(arm, density, decay)
                config.data.name = data
                arms[f"{arm}@{density:g} {decay:g}"] = config
    return study(name, arms, densities=(), seeds=tuning.SEEDS)
