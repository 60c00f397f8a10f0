"""Development of units with elastic arrays against dense training, LeNet-5 on Fashion-MNIST.

A table of docs/reproducing.md, three seeds. Times are valid only on an otherwise idle machine;
about ten minutes on 2 CPU cores.

    python experiments/reproduce.py "dense units" "elastic units"
"""

from ml_collections import ConfigDict

from configs import dense, development_units
from experiments.studies.recipes import pinned
from gpnas.train import study

ARMS = ("dense units", "elastic units")


def get_config() -> ConfigDict:
    """Returns the dense network, and the developed one with elastic arrays."""
    arms = {}
    for arm in ARMS:
        config = pinned((dense if arm == ARMS[0] else development_units).get_config())
        config.model.name = "lenet5"
        config.optimizer.learning_rate = 0.02
        config.train.tensorboard = False
        config.elastic = arm == ARMS[1]
        arms[arm] = config
    return study("elastic", arms, densities=(), seeds=(0, 1, 2))
