"""The network of CHTs and CHTss, 784-1568-1568-1568-10, on Fashion-MNIST at 1 % of the weights.

50 epochs, three seeds; one weight decay for all arms, not chosen on validation. About 40 minutes a
run on a CPU core.

    python experiments/reproduce.py coupling_wide
"""

from ml_collections import ConfigDict

from experiments.studies.coupling.arms import EPOCHS, OURS, config_of, target
from gpnas.train import study

ARMS = (OURS, "GraNet matched")
DENSITY = 0.01
LENGTH = 50  # epochs; 100 in the papers
WEIGHT_DECAY = 0.0005  # the value chosen for most arms of `coupling`


def get_config() -> ConfigDict:
    """Returns each arm, with the relative training FLOPs of `coupling`; the density follows the
    @."""
    arms = {}
    for name in ARMS:
        flops = target(DENSITY) * LENGTH / EPOCHS
        config = config_of(name, DENSITY, WEIGHT_DECAY, epochs=LENGTH, flops=flops)
        config.model.widths = (1568, 1568, 1568)
        arms[f"{name}@{DENSITY:g}"] = config
    return study("coupling_wide", arms, densities=(), seeds=(0, 1, 2))
