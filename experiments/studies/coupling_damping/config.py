"""Growth by V, by |g|, and between them: the Fisher information in V is damped.

LeNet-300-100 on Fashion-MNIST and MNIST at 1 and 0.2 %, judged on validation images of ten seeds
that no other study of the page has used. The weight decay is that of V in `coupling_confirmation`
for all arms. About 12 minutes on 2 CPU cores.

    python experiments/reproduce.py coupling_damping
"""

import itertools

from ml_collections import ConfigDict

from experiments.studies.coupling.arms import SPARSEST, V_OF_ONE_BATCH, config_of
from experiments.studies.coupling_confirmation.config import CHOSEN
from experiments.studies.coupling_confirmation_mnist.config import CHOSEN as CHOSEN_MNIST
from gpnas.train import study

GRADIENT = "magnitude and gradient"
_DAMPED = "experiments.studies.coupling_damping.damped"
#: Methods with the settings of `V_OF_ONE_BATCH`, by arm.
METHODS: dict[str, str] = {"λ = 0.1": f"{_DAMPED}:tenth", "λ = 10": f"{_DAMPED}:tenfold"}
ARMS = (V_OF_ONE_BATCH, *METHODS, GRADIENT)
#: Name in the config and in tables, and chosen weight decays, of each data set.
DATA = {"fashion_mnist": ("Fashion-MNIST", CHOSEN), "mnist": ("MNIST", CHOSEN_MNIST)}
DENSITIES = (0.01, 0.002)
_SHARED = ("density", "peak", "churn", "every", "window", "allocation")


def get_config() -> ConfigDict:
    """Returns each arm on each data set at each density; both follow the @."""
    arms = {
        f"{name}@{data}-{density:g}": _arm(name, data, density)
        for data, density, name in itertools.product(DATA, DENSITIES, ARMS)
    }
    return study("coupling_damping", arms, densities=(), seeds=tuple(range(510, 520)))


def _arm(name: str, data: str, density: float) -> ConfigDict:
    decay = DATA[data][1][V_OF_ONE_BATCH][density in SPARSEST]
    config = config_of(GRADIENT if name == GRADIENT else V_OF_ONE_BATCH, density, decay)
    config.data.name = data
    if name in METHODS:
        shared = {field: config.method[field] for field in _SHARED}
        config.method = ConfigDict({"name": METHODS[name], **shared})
    return config
