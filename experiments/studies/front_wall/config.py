"""Wall time of a front over that of runs that only prune, one for each level.

    python experiments/reproduce.py front_wall

The arms are "14 epochs" of the study `front` and "pruning only" of `front_rivals`, with one seed
and the learning rates chosen there. Both are trained in turn in one process, and compiled anew. The
machine must be otherwise idle: about six minutes per round on 2 CPU cores. `front_rivals` writes
the row of docs/front.md.
"""

from ml_collections import ConfigDict

from experiments.studies.front_rivals import config as front_rivals


def get_config() -> ConfigDict:
    """Returns the settings of `front_rivals`, and the number of rounds."""
    config = front_rivals.get_config()
    config.study, config.seeds = "front_wall", (0,)
    config.rounds = 3
    return config
