"""Pilots of gates with prices by layer on MNIST: one seed, judged on validation.

What lenet5.py beside this then uses was chosen here. Seed 100 is in no other study; the records
were moved to the end of results/lenet5/pilots.jsonl.

    python experiments/sweep.py --config=configs/studies/pilots.py --results=runs
"""

from ml_collections import ConfigDict

from configs.studies.lenet5 import arm_in_the_middle
from gpnas.train.study import study


def get_config() -> ConfigDict:
    """Arms by name."""
    arms = {
        "LeNet-5 a": arm_in_the_middle(20, (33.0, 1.25, 1.5, 75.0), 0.08),
        "LeNet-5 b": arm_in_the_middle(24, (17.0, 1.25, 1.7, 130.0), 0.04),
        "LeNet-5 c": arm_in_the_middle(24, (24.0, 1.2, 1.55, 105.0), 0.04),
    }
    arms["LeNet-5 c"].optimizer.update(name="adamw", weight_decay=0.1)
    return study("pilots", arms, densities=(), seeds=(100,))
