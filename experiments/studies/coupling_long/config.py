"""The study `coupling` with runs of 50 instead of 10 epochs, at 2 and 1 %.

Five paired seeds; one weight decay for all arms, not chosen on validation. About 50 minutes on a
CPU core.

    python experiments/reproduce.py coupling_long
"""

from collections.abc import Sequence

from ml_collections import ConfigDict

from experiments.studies.coupling.arms import EPOCHS, REPEATED, config_of, target
from experiments.studies.coupling.networks import WEIGHT_DECAY
from gpnas.train import study

ARMS = (*REPEATED, "magnitude and gradient")
LENGTH = 50  # epochs


def get_config() -> ConfigDict:
    """Returns the repeated arms and growth by |g|, each at each density."""
    return long_study("coupling_long", "fashion_mnist", (0.01, 0.02))


def long_study(name: str, data: str, densities: Sequence[float]) -> ConfigDict:
    """Returns a study with the relative training FLOPs of runs of 10 epochs; the density follows
    the @.

    Args:
      name: Name of the study.
      data: Name of the data set.
      densities: Final densities.
    """
    arms = {}
    for density in densities:
        flops = target(density) * LENGTH / EPOCHS
        for arm in ARMS:
            config = config_of(arm, density, WEIGHT_DECAY, epochs=LENGTH, flops=flops)
            config.data.name = data
            arms[f"{arm}@{density:g}"] = config
    return study(name, arms, densities=(), seeds=(0, 1, 2, 3, 4))
