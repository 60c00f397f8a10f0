"""Pilots of L0-ARM with penalties by layer on MNIST: one seed, judged on validation.

The values in ../lenet5/config.py lie between the two. Seed 100 is used by no other study. Records
were moved to the end of pilots.jsonl in results/lenet5, which has those of earlier pilots, each
with its config.

    python experiments/reproduce.py pilots --results=runs
"""

from ml_collections import ConfigDict

from experiments.studies.lenet5.config import arm_in_the_middle
from gpnas.train import study


def get_config() -> ConfigDict:
    """Returns the arms by name."""
    arms = {
        "LeNet-5 c": arm_in_the_middle(20, (26.0, 1.15, 1.38, 88.0)),
        "LeNet-5 d": arm_in_the_middle(20, (26.0, 1.05, 1.4, 88.0)),
    }
    for arm, decay in (("LeNet-5 c", 5e-4), ("LeNet-5 d", 2e-3)):
        arms[arm].optimizer.weight_decay = decay
    return study("pilots", arms, densities=(), seeds=(100,))
