"""The README's table: five arms on Fashion-MNIST, LeNet-300-100, 2 % of the weights, ten seeds.

About five minutes on 2 CPU cores.

    python experiments/reproduce.py fashion
"""

from ml_collections import ConfigDict

from configs import dense, development, gmp, pipeline, rigl
from experiments.studies.recipes import pinned
from gpnas.train import study


def get_config() -> ConfigDict:
    """Returns dense, GMP, RigL, the pipeline and development, with the same recipe."""
    arms = {
        module.__name__.split(".")[-1]: pinned(module.get_config())
        for module in (dense, gmp, rigl, pipeline, development)
    }
    return study("fashion", arms, densities=(0.02,), seeds=tuple(range(10)))
