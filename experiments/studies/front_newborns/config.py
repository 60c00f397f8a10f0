"""Gradients of newly grown units, relative to those of the units that were active before.

    python experiments/reproduce.py front_newborns

The arms "growing only" and "random growth" of `front_rivals`, at a quarter of the MACs; about two
minutes per run on one CPU core.
"""

from ml_collections import ConfigDict

from experiments.studies.front_rivals.config import get_config as rivals_study


def get_config() -> ConfigDict:
    """Returns arms, level, ages and seeds, and the settings of `front_rivals`."""
    config = rivals_study()
    config.study = "front_newborns"
    config.arms = ("growing only", "random growth")
    config.level = 0.25
    config.rate = 0.1  # chosen by `front_rivals`
    config.ages = (0, 10, 50, 99, 199)  # steps since the mask update
    config.examples = 1024  # training images of which the gradient is taken
    return config
