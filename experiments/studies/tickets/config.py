"""Lottery tickets and their controls, LeNet-300-100 on MNIST, five trials.

The paper's three curves, see docs/reproducing.md. About an hour on 2 CPU cores.

    python experiments/reproduce.py "lottery tickets"
"""

from ml_collections import ConfigDict

from configs import lottery
from gpnas.train import study


def get_config() -> ConfigDict:
    """Returns one arm; the controls are trained within each run."""
    arm = lottery.get_config()
    arm.train.tensorboard = False
    return study("tickets", {"lottery tickets": arm}, densities=())
