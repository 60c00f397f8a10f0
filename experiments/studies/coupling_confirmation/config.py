"""Confirmation on new seeds: development with V of one batch, and baselines at equal FLOPs.

The study `coupling` with 20 seeds that no study of its page has used. Arms, weight decay and the
comparison were committed before the runs: the test error of development with V of one batch minus
that of each other arm, averaged over log density, corrected by Holm. About 45 minutes on 2 CPU
cores.

    python experiments/reproduce.py coupling_confirmation
"""

from collections.abc import Callable

from ml_collections import ConfigDict

from experiments.studies.coupling import config as coupling
from experiments.studies.coupling.arms import V_OF_ONE_BATCH, config_of
from gpnas.train import study

BASELINES = (
    "pipeline",
    "magnitude and gradient",
    "random growth",
    "GMP sparse start",
    "GraNet matched",
)
ARMS = (V_OF_ONE_BATCH, *BASELINES)
SEEDS = tuple(range(20, 40))


def weight_decay(name: str, density: float) -> float:
    """Returns the value chosen on validation images of Fashion-MNIST for an arm at a density."""
    return coupling.weight_decay(name, density)


def get_config() -> ConfigDict:
    """Returns each arm at each density; the density follows the @."""
    return confirmation("coupling_confirmation", "fashion_mnist", weight_decay)


def confirmation(name: str, data: str, weight_decay: Callable[[str, float], float]) -> ConfigDict:
    """Returns the study on a data set.

    Args:
      name: Name of the study.
      data: Name of the data set.
      weight_decay: `(arm, density) → weight decay`.
    """
    arms = {}
    for density in coupling.DENSITIES:
        for arm in ARMS:
            config = config_of(arm, density, weight_decay(arm, density))
            config.data.name = data
            arms[f"{arm}@{density:g}"] = config
    return study(name, arms, densities=(), seeds=SEEDS)
