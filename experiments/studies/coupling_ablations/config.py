"""Ablations of development: each part is removed or changed separately, judged on validation.

LeNet-300-100 on Fashion-MNIST, 10 epochs, 2 % of the weights left, 20 seeds not used by `coupling`.
Test errors are not used. About an hour on 2 CPU cores.

    python experiments/reproduce.py coupling_ablations
"""

from typing import Any

from ml_collections import ConfigDict

from experiments.studies.coupling.arms import OURS, config_of
from gpnas.train import study

DENSITY = 0.02
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
#: Methods with the same settings, by arm.
METHODS: dict[str, str] = {
    "V shuffled within layers": f"{_RIVALS}:shuffled_gain",
    "grown at the last value": f"{_VARIANTS}:grown_at_last_value",
    "grown with warm-up": f"{_VARIANTS}:grown_with_warm_up",
}
#: Arms with noise on active weights, and their own fields.
NOISY: dict[str, dict[str, Any]] = {
    "with noise": {"weight": 0.1},
    "noise and pruning by signal to noise": {"weight": 0.1, "by_noise": True},
}
_SHARED = ("density", "peak", "churn", "every", "window", "allocation")


def get_config() -> ConfigDict:
    """Returns one arm per change of a setting or of the method."""
    arms = {name: config_of(OURS, DENSITY) for name in (*CHANGES, *METHODS, *NOISY)}
    for name, changes in CHANGES.items():
        with arms[name].method.ignore_type():
            arms[name].method.update(changes)
    named = {name: {"name": method} for name, method in METHODS.items()}
    named |= {name: {"name": f"{_VARIANTS}:noisy", **own} for name, own in NOISY.items()}
    for name, own in named.items():
        fields = {field: arms[name].method[field] for field in _SHARED}
        arms[name].method = ConfigDict(own | fields)
    for name in NOISY:
        arms[name].gates.update({"name": "adam", "learning_rate": 0.02})
    return study("coupling_ablations", arms, densities=(), seeds=tuple(range(200, 220)))
