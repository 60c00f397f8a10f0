"""LeNet-5 (Caffe) on MNIST: sparse training methods and their papers' numbers, three seeds.

The rows of docs/reproducing.md. A step takes about 45 ms on 2 CPU cores, so budgets are a fraction
of the papers' (the page shows both). SeReNe has the settings of the arm of sensitivity; the
sensitivity of a filter is averaged or summed over positions.

    python experiments/reproduce.py "LeNet-5 sparse VD"
"""

from typing import Any

from ml_collections import ConfigDict

from configs import dense, l0, npn_sparsify, sensitivity, serene, sparse_vd
from experiments.studies.recipes import mnist, same_recipe
from gpnas.train import study


def lenet5(module: Any, epochs: int, **method: Any) -> ConfigDict:
    """Returns a method's config for LeNet-5 on MNIST."""
    config = mnist(module, epochs, **method)
    config.model.name = "lenet5"
    return config


def arm_in_the_middle(epochs: int, penalties: tuple[float, ...]) -> ConfigDict:
    """L0-ARM: gates are trained by Adam from 5 to 40 % of the run; then the remaining weights."""
    config = lenet5(npn_sparsify, epochs, penalties=penalties, start_at=0.05, stop_at=0.4)
    config.gates.update(name="adam", learning_rate=3e-3)
    config.optimizer = dense.get_config().optimizer
    same_recipe(config)
    config.optimizer.update(learning_rate=0.02, weight_decay=1e-3, decay_at=0.4)
    return config


def get_config() -> ConfigDict:
    """Returns the arms by name."""
    loop = {"refresh": 50, "patience": 1, "rate": 1e-4, "tolerance": 1.0, "stop_at": 0.8}
    arms = {
        "LeNet-5 dense": lenet5(dense, 20),
        "LeNet-5 sparse VD": lenet5(
            sparse_vd, 45, start_at=0.05, full_at=0.2, stop_at=0.75, weight=1.75
        ),
        "LeNet-5 sensitivity": lenet5(sensitivity, 60, density=0.0196, **loop),
        "LeNet-5 SeReNe mean": lenet5(serene, 60, density=0.0196, kind="exact", **loop),
        "LeNet-5 SeReNe sum": lenet5(
            serene, 60, density=0.0196, kind="exact", positions="sum", **loop
        ),
        "LeNet-5 L0": lenet5(l0, 40, penalties=(10.0, 0.5, 0.1, 10.0), drops=(0.5,), decay=5e-4),
        "LeNet-5 L0-ARM": arm_in_the_middle(20, (25.0, 1.08, 1.38, 87.0)),
    }
    arms["LeNet-5 sparse VD"].optimizer.decay_at = 0.0
    arms["LeNet-5 sparse VD"].optimizer.learning_rate = 2e-3
    for arm in (
        "LeNet-5 dense", "LeNet-5 sensitivity", "LeNet-5 SeReNe mean", "LeNet-5 SeReNe sum",
    ):  # fmt: skip
        same_recipe(arms[arm])
        arms[arm].optimizer.learning_rate = 0.02
    return study("lenet5", arms, densities=(), seeds=(0, 1, 2))
