"""Pilots of L0-ARM with prices by layer, LeNet-5 on MNIST: one seed, judged on validation.

What lenet5.py beside this then uses lies between the two. Seed 100 is in no other study; the
record of the first was moved to the end of results/lenet5/pilots.jsonl, the second was cut off.

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
    }
    return study("pilots", arms, densities=(), seeds=(100,))
