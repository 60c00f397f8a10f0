"""Which weights are grown: by V, by |g|, between them, by V's layers only, or at random.

Development with a window of 1 and other scores for growth, or without churn. LeNet-300-100 on
Fashion-MNIST and MNIST at 1 and 0.2 %, judged on validation images of ten seeds that no other study
of the page has used. The weight decay is that of V in `coupling_confirmation` for all arms. About
20 minutes on 2 CPU cores.

    python experiments/reproduce.py coupling_growth
"""

import itertools

from ml_collections import ConfigDict

from experiments.studies.coupling.arms import (
    ARMS,
    SPARSEST,
    WINDOW_1_HIGHER,
    config_of,
    with_method,
)
from experiments.studies.coupling_confirmation.config import CHOSEN
from experiments.studies.coupling_confirmation_mnist.config import CHOSEN as CHOSEN_MNIST
from gpnas.train import study

_DAMPED = "experiments.studies.coupling_growth.damped"
#: Arms, and how they grow weights.
GROWTH: dict[str, str] = {
    WINDOW_1_HIGHER: "V",
    "λ = 0.1": "V, λ = 0.1",
    "λ = 10": "V, λ = 10",
    "magnitude and gradient": "the gradient of one batch",
    "shuffled": "V shuffled within layers",
    "random growth": "at random",
    "without churn": "V, without churn",
}
#: Methods with the settings of `WINDOW_1_HIGHER`, by arm.
METHODS: dict[str, str] = {
    "λ = 0.1": f"{_DAMPED}:tenth",
    "λ = 10": f"{_DAMPED}:tenfold",
    "shuffled": "experiments.studies.coupling.rivals:shuffled_gain",
}
#: Name in the config and in tables, and chosen weight decays, of each data set.
DATA = {"fashion_mnist": ("Fashion-MNIST", CHOSEN), "mnist": ("MNIST", CHOSEN_MNIST)}
DENSITIES = (0.01, 0.002)


def get_config() -> ConfigDict:
    """Returns each arm on each data set at each density; both follow the @."""
    arms = {
        f"{name}@{data}-{density:g}": _arm(name, data, density)
        for data, density, name in itertools.product(DATA, DENSITIES, GROWTH)
    }
    return study("coupling_growth", arms, densities=(), seeds=tuple(range(510, 520)))


def _arm(name: str, data: str, density: float) -> ConfigDict:
    decay = DATA[data][1][WINDOW_1_HIGHER][density in SPARSEST]
    config = config_of(name if name in ARMS else WINDOW_1_HIGHER, density, decay)
    config.data.name = data
    if name in METHODS:
        with_method(config, METHODS[name])
    elif name == "without churn":
        config.method.churn = 0.0
    return config
