"""A front of one run against other uses of its training FLOPs.

    python experiments/reproduce.py front_rivals
    python experiments/reproduce.py "random search" LEMONADE  # some arms

Network, data and levels are those of the study `front`, whose records must exist: searches and the
slimmable network get multiples of the training FLOPs of its front with the same seed.
"""

from ml_collections import ConfigDict

from experiments.studies.front.config import get_config as front_study


def get_config() -> ConfigDict:
    """Returns the baselines, their seeds, and their training settings."""
    config = front_study()
    config.study = "front_rivals"
    config.arms = (
        "front's widths", "uniform as long", "uniform as long as six",
        "uniform three times as long", "pruning only",
        "growing only", "random growth", "growing with exchange", "overshoot",
        "uniform as overshoot",
        "widths of pruning only", "widths of growing only", "widths of random units",
        "widths of equal shares", "random widths", "slimmable",
        "random search", "weight sharing", "NSGA-II", "LEMONADE", "BULK & CUT", "ASHA", "LaNAS",
        "Torch-Pruning", "Torch-Pruning layerwise", "OTO",
    )  # fmt: skip
    config.only = ""  # comma-separated arms; all if empty
    config.seed_cost = 0.25  # initial cost of growing, as a fraction of the level
    config.peak = 2.0  # highest cost of an overshoot, as a multiple of the level
    config.draws = 8  # random width vectors per level
    config.largest = (1.0, 0.5)  # costs of slimmable networks, chosen by the tuning seeds
    config.budgets = (1.0, 3.0, 10.0)  # of searches, in training FLOPs of one front
    config.shared = 25  # random width vectors per level that share weights
    config.candidate_epochs = 4  # of a search's network from scratch
    config.child_epochs = 2  # of a network with inherited weights
    return config
