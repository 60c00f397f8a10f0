"""Gradients of newly grown units, relative to those of the units that were active before.

    python experiments/reproduce.py front_newborns

The arms "growing only" and "random growth" of `front_rivals`, at a quarter of the MACs, and the
first of these with other initial values of grown units. Errors are on validation images. About two
minutes per run on one CPU core.
"""

from ml_collections import ConfigDict

from experiments.studies.front_rivals.config import get_config as rivals_study
from experiments.studies.front_rivals.growing import GROWTH

_BIRTHS = "experiments.studies.front_newborns.births"
#: Fields of the method of each arm.
ARMS = {
    **GROWTH,
    "drawn": {"name": f"{_BIRTHS}:drawn", "spare": 0.25},
    "against the gradient": {"name": f"{_BIRTHS}:against", "spare": 0.25},
    "slightly against the gradient": {"name": f"{_BIRTHS}:slightly_against", "spare": 0.25},
}


def get_config() -> ConfigDict:
    """Returns arms, level, ages and seeds, and the settings of `front_rivals`."""
    config = rivals_study()
    config.study = "front_newborns"
    config.arms = tuple(ARMS)
    config.level = 0.25
    config.rate = 0.1  # chosen by `front_rivals`
    config.ages = (0, 10, 50, 99, 199)  # steps since the mask update
    config.examples = 1024  # training images of which the gradient is taken
    return config
