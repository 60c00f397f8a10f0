"""The README's table: eight arms on Fashion-MNIST, LeNet-300-100, 2 % of the weights, ten seeds.

About eight minutes on 2 CPU cores. `./run.sh` trains the first five arms with three seeds.

    python experiments/reproduce.py fashion
"""

from ml_collections import ConfigDict

from configs import dense, development, gmp, granet, pipeline, rigl, static
from experiments.studies.recipes import WINDOW, pinned
from gpnas.train import study

DENSITY = 0.02
#: Initial density that gives an arm the training FLOPs of development, from
#: `gpnas.methods.match_flops`.
FIRST = {"gmp sparse start": 0.2912, "granet": 0.2798}


def get_config() -> ConfigDict:
    """Returns dense, GMP from dense and sparse networks, RigL, the pipeline, development, GraNet
    and random masks, with the same recipe."""
    arms = {
        module.__name__.split(".")[-1]: module.get_config()
        for module in (dense, gmp, rigl, pipeline, development)
    }
    arms |= {
        "gmp sparse start": gmp.get_config(),
        "granet": granet.get_config(),
        "random": static.get_config(),
    }
    arms["development"].method.window = WINDOW
    for name, config in arms.items():
        pinned(config)
        if name in FIRST:
            config.method.first = FIRST[name]
    return study("fashion", arms, densities=(DENSITY,), seeds=tuple(range(10)))
