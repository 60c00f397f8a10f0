"""LeNet-300-100 on MNIST: sparse training methods and their papers' numbers, five seeds.

The rows of docs/reproducing.md; each arm has its own density or penalties. Budgets in epochs are
those of the arms; the page notes where a paper had more. About four hours on 2 CPU cores.

    python experiments/reproduce.py "sparse VD"
"""

from typing import Any

from ml_collections import ConfigDict

from configs import dense, gmp, l0, l0_arm, sensitivity, snfs, sparse_vd
from experiments.studies.recipes import mnist, same_recipe
from gpnas.train import study

# Settings of the plateaus, which are shorter than the paper's; the other settings are those of the
# other arms.
LOOP: dict[str, Any] = {"refresh": 10, "rate": 3e-4, "tolerance": 0.1, "stop_at": 0.7}


def get_config() -> ConfigDict:
    """Returns the arms by name; seeds 100 to 102 were used for tuning."""
    arms = {
        "dense": mnist(dense, 100),
        "sparse VD": mnist(sparse_vd, 200),
        "sparse VD KL×0.3": mnist(sparse_vd, 200, weight=0.3),
        "sensitivity 27.9×": mnist(sensitivity, 150, density=0.0357, patience=2, **LOOP),
        "sensitivity 103×": mnist(sensitivity, 150, density=0.0097, patience=1, **LOOP),
        "sensitivity specified": mnist(
            sensitivity, 150, density=0.0125, patience=1, kind="specified", **LOOP
        ),
        "SNFS 5 %": mnist(snfs, 100, density=0.05, every=540, fraction=0.3),
        "SNFS 2 %": mnist(snfs, 100, density=0.02, every=540),
        "SNFS 1 %": mnist(snfs, 100, density=0.01, every=540),
        "L0": mnist(l0, 200, penalties=(0.2, 0.5, 2.5)),
        "L0-ARM": mnist(l0_arm, 200),
        "GMP 1 %": mnist(gmp, 100, density=0.01),
    }
    for arm in ("dense", "SNFS 5 %", "SNFS 2 %", "SNFS 1 %", "GMP 1 %"):
        arms[arm].optimizer.weight_decay = 5e-4
    for arm in ("sensitivity 27.9×", "sensitivity 103×", "sensitivity specified"):
        same_recipe(arms[arm])
    for arm in ("L0", "L0-ARM"):
        arms[arm].optimizer.update(schedule="linear", decay_at=0.5)
    return study("lenet300", arms, densities=())
