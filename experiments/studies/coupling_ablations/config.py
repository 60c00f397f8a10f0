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


SHUFFLED = "V shuffled within layers"
_SHARED = ("density", "peak", "churn", "every", "window", "allocation")


def get_config() -> ConfigDict:
    """Returns one arm per change, and one whose gains are shuffled within layers."""
    arms = {}
    for name, changes in CHANGES.items():
        arms[name] = config_of(OURS, DENSITY)
        with arms[name].method.ignore_type():
            arms[name].method.update(changes)
    arms[SHUFFLED] = config_of(OURS, DENSITY)
    fields = {field: arms[SHUFFLED].method[field] for field in _SHARED}
    name = "experiments.studies.coupling.rivals:shuffled_gain"
    arms[SHUFFLED].method = ConfigDict({"name": name, **fields})
    return study("coupling_ablations", arms, densities=(), seeds=tuple(range(200, 220)))
