"""The lowest error for given training FLOPs, with free length of the runs.

LeNet-300-100 on Fashion-MNIST, 2 % of the weights left. At each budget a method runs for several
lengths; longer runs are sparser in between. The best length is chosen on validation, over three
seeds; weight decay as chosen by `coupling_tuning`. About two hours on 2 CPU cores.

    python experiments/reproduce.py coupling_lengths
"""

from ml_collections import ConfigDict

from experiments.studies.coupling.arms import ARMS, OURS, config_of
from experiments.studies.coupling.config import weight_decay
from gpnas.errors import UserError
from gpnas.train import study

DENSITY = 0.02
#: Training FLOPs relative to a dense run of 10 epochs: those of development at 5, 10, 20, 40
#: epochs.
BUDGETS = (0.0366, 0.0732, 0.1464, 0.2928)
EPOCHS = (5, 10, 20, 40, 80)
#: Methods with a field that sets their training FLOPs, and methods where only the length does.
SOLVED = (OURS, "GMP sparse start", "GraNet matched", "random growth")
PLAIN = ("RigL", "SET", "GMP", "dense")


def get_config() -> ConfigDict:
    """Returns each method at each feasible budget and length; after the @: budget and epochs."""
    arms = {}
    for name in SOLVED:
        for budget in BUDGETS:
            for epochs in EPOCHS:
                try:
                    config = config_of(
                        name, DENSITY, weight_decay(name, DENSITY), epochs=epochs, flops=budget
                    )
                except UserError:  # too short or too long for any density curve of this cost
                    continue
                arms[f"{name}@{budget:g} {epochs}"] = config
    for name in PLAIN:
        for epochs in EPOCHS:
            density = 1.0 if name not in ARMS else DENSITY
            arms[f"{name}@{epochs}"] = config_of(
                name, density, weight_decay(name, DENSITY), epochs=epochs
            )
    return study("coupling_lengths", arms, densities=(), seeds=(300, 301, 302))
