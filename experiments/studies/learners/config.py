"""Sparse training methods on Fashion-MNIST, LeNet-300-100, at five densities: one figure.

With GMP, RigL and development, at an equal budget of 30 epochs. Methods without a density have five
penalties (after the @). Three seeds; about an hour on 2 CPU cores.

    python experiments/reproduce.py learners
"""

from typing import Any

from ml_collections import ConfigDict

from configs import development, gmp, l0, lobster, npn_sparsify, rigl, sensitivity, serene, snfs
from configs import sparse_vd as vd
from experiments.studies.recipes import WINDOW, on, same_recipe
from gpnas.train import study

EPOCHS = 30
_LOOP = {"patience": 1, "rate": 1e-3, "tolerance": 0.5, "stop_at": 0.75}


def fashion(module: Any, **method: Any) -> ConfigDict:
    """Returns a method's config on Fashion-MNIST, batch 128."""
    return on("fashion_mnist", module, EPOCHS, 128, **method)


def get_config() -> ConfigDict:
    """Returns the arms by name."""
    arms = {
        "GMP": fashion(gmp),
        "RigL": fashion(rigl),
        "development": fashion(development, peak=8.0, window=WINDOW),
        "SNFS": fashion(snfs),
        "sensitivity": fashion(sensitivity, refresh=10, **_LOOP),
        "LOBSTER": fashion(lobster, **_LOOP),
        "SeReNe": fashion(serene, **_LOOP),
    }
    for name in ("sensitivity", "LOBSTER", "SeReNe"):
        same_recipe(arms[name])
    for weight in (0.1, 0.3, 1.0, 3.0, 10.0):
        arms[f"sparse VD@{weight:g}"] = fashion(vd, weight=weight)
    for price in (0.1, 0.2, 0.4, 0.8, 1.6):
        arms[f"L0@{price:g}"] = fashion(l0, penalties=(price,), drops=(0.5,))
        arms[f"NPN@{price:g}"] = fashion(npn_sparsify, penalties=(price,))
    densities = (0.1, 0.05, 0.02, 0.01, 0.005)
    return study("learners", arms, densities=densities, seeds=(0, 1, 2))
