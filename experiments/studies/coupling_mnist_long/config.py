"""The study `coupling_mnist` with runs of 50 instead of 10 epochs, at 1 and 0.5 %.

As `coupling_long`, on other data.

    python experiments/reproduce.py coupling_mnist_long
"""

from ml_collections import ConfigDict

from experiments.studies.coupling_long.config import long_study


def get_config() -> ConfigDict:
    """Returns the repeated arms and growth by |g|, each at each density."""
    return long_study("coupling_mnist_long", "mnist", (0.01, 0.005))
