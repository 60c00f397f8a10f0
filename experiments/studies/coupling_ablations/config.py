"""Ablations of development: each part is removed or changed separately, judged on validation.

LeNet-300-100 on Fashion-MNIST, 10 epochs, 2 % of the weights left, 20 seeds not used by `coupling`;
some arms at 0.5 %. Test errors are not used. Parts of development with a window of 1 are removed
with the settings of `coupling_confirmation`. About 70 minutes on 2 CPU cores.

    python experiments/reproduce.py coupling_ablations
"""

import itertools
from typing import Any

from ml_collections import ConfigDict

from experiments.studies.coupling.arms import OURS, WINDOW_1_HIGHER, config_of, with_method
from experiments.studies.coupling.config import weight_decay
from experiments.studies.coupling_confirmation.config import CHOSEN
from gpnas.train import study

DENSITY, SPARSEST = 0.02, 0.005
SEEDS = tuple(range(200, 220))
#: Changed fields of the method relative to the arm "development" of `coupling`, by arm.
CHANGES: dict[str, dict[str, Any]] = {
    OURS: {},
    "leaves by ERK": {"allocation": "erk"},
    "window 1": {"window": 1},
    "window 2": {"window": 2},
    "window 20": {"window": 20},
    "without churn": {"churn": 0.0},
    "pruned by U": {"drop": "removal_cost"},
    "peak 1": {"peak": 1.0},
    "peak 1.5": {"peak": 1.5},
    "peak 2": {"peak": 2.0},
    "peak 5": {"peak": 5.0},
    "peak 25": {"peak": 25.0},
}

_RIVALS = "experiments.studies.coupling.rivals"
_VARIANTS = "experiments.studies.coupling_ablations.variants"
_GROWTH = "experiments.studies.coupling_ablations.growth"
#: Methods with the same settings, by arm.
METHODS: dict[str, str] = {
    "V shuffled within layers": f"{_RIVALS}:shuffled_gain",
    "grown at the last value": f"{_VARIANTS}:grown_at_last_value",
    "grown with warm-up": f"{_VARIANTS}:grown_with_warm_up",
    "grown without redundancy": f"{_GROWTH}:grown_without_redundancy",
    "grown by pixels and units": f"{_GROWTH}:grown_by_wholes",
}
#: Arms at 0.5 % of the weights as well.
AT_SPARSEST = (
    OURS,
    "V shuffled within layers",
    "grown without redundancy",
    "grown by pixels and units",
)
#: Development with a window of 1, and changed fields or method, by arm.
OF_WINDOW_1: dict[str, dict[str, Any]] = {
    WINDOW_1_HIGHER: {},
    "window 1 without churn": {"churn": 0.0},
    "window 1 with V shuffled within layers": {"name": METHODS["V shuffled within layers"]},
}
_GATES = {"name": "adam", "learning_rate": 0.02}
#: Arms with noise on active weights, and their own fields.
NOISY: dict[str, dict[str, Any]] = {
    "with noise": {"weight": 0.1},
    "noise and pruning by signal to noise": {"weight": 0.1, "by_noise": True},
}
#: Baselines as controls of the noise, and their methods with the same noise.
BASELINES: dict[str, str] = {
    "GMP sparse start": f"{_VARIANTS}:noisy_gmp",
    "GraNet matched": f"{_VARIANTS}:noisy_granet",
}
WITH_NOISE = " with noise"  # added to the name of a baseline


def get_config() -> ConfigDict:
    """Returns one arm per change of a setting or of the method, and baselines with and without
    noise; after the @, a lower density."""
    names = (*CHANGES, *METHODS, *NOISY)
    arms = {name: _arm(name, DENSITY) for name in names}
    arms |= {f"{name}@{SPARSEST:g}": _arm(name, SPARSEST) for name in AT_SPARSEST}
    for name, density in itertools.product(OF_WINDOW_1, (DENSITY, SPARSEST)):
        arms[f"{name}@{density:g}"] = _of_window_1(name, density)
    for name in BASELINES:
        arms[name], arms[name + WITH_NOISE] = _baseline(name), _noisy_baseline(name)
    return study("coupling_ablations", arms, densities=(), seeds=SEEDS)


def _arm(name: str, density: float) -> ConfigDict:
    config = config_of(OURS, density, weight_decay(OURS, density))
    if name in CHANGES:
        with config.method.ignore_type():
            config.method.update(CHANGES[name])
        return config
    with_method(config, METHODS.get(name, f"{_VARIANTS}:noisy"), **NOISY.get(name, {}))
    if name in NOISY:
        config.gates.update(_GATES)
    return config


def _of_window_1(name: str, density: float) -> ConfigDict:
    decay = CHOSEN[WINDOW_1_HIGHER][density == SPARSEST]
    config = config_of(WINDOW_1_HIGHER, density, decay)
    changes = OF_WINDOW_1[name]
    if "name" in changes:
        with_method(config, changes["name"])
    config.method.update(changes)
    return config


def _baseline(name: str) -> ConfigDict:
    return config_of(name, DENSITY, weight_decay(name, DENSITY))


def _noisy_baseline(name: str) -> ConfigDict:
    config = _baseline(name)
    shared = {field: config.method[field] for field in ("density", "first", "every", "allocation")}
    config.method = ConfigDict({"name": BASELINES[name], **NOISY["with noise"], **shared})
    config.gates.update(_GATES)
    return config
