"""A front of one run beside other ways to spend its training FLOPs.

    python experiments/reproduce.py front_rivals
    python experiments/reproduce.py "random search" LEMONADE  # some arms

The network, the data and the levels of the study `front`, whose records must be there: searches
and the slimmable network get multiples of the training FLOPs of its front with the same seed.
"""

from ml_collections import ConfigDict

from experiments.studies.front.config import get_config as front_study


def get_config() -> ConfigDict:
    """The rivals, their seeds, and how they are trained."""
    config = front_study()
    config.study = "front_rivals"
    config.arms = (
        "front's widths", "uniform as long", "uniform as long as six", "pruning only",
        "growing only", "random growth", "random widths", "slimmable",
        "random search", "NSGA-II", "LEMONADE",
    )  # fmt: skip
    config.only = ""  # arms to be run, with commas; all if empty
    config.seed_cost = 0.25  # cost at which growing begins, as a fraction of the level
    config.draws = 8  # random width vectors per level
    config.largest = (1.0, 0.5)  # costs of slimmable networks, of which the tuning seeds choose
    config.budgets = (1.0, 3.0, 10.0)  # of searches, in training FLOPs of one front
    config.candidate_epochs = 4  # of a search's network from fresh weights
    config.child_epochs = 2  # of one that begins with its parent's weights
    return config
