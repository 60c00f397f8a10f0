"""Pilots of gates with prices by layer on MNIST: one seed, judged on validation.

What lenet5.py beside this then uses was chosen here. Seed 100 is in no other study; the records
were moved to the end of results/lenet5/pilots.jsonl.

    python experiments/sweep.py --config=configs/studies/pilots.py --results=runs
"""

from ml_collections import ConfigDict

from configs import npn_sparsify
from configs.studies.lenet5 import lenet5
from gpnas.train.study import study


def get_config() -> ConfigDict:
    """Arms by name."""
    arms = {}
    for arm, epochs, start_at, penalties in (
        ("LeNet-5 a", 20, 0.08, (33.0, 1.25, 1.5, 75.0)),
        ("LeNet-5 b", 24, 0.04, (17.0, 1.25, 1.7, 130.0)),
    ):
        arms[arm] = lenet5(
            npn_sparsify, epochs, penalties=penalties, start_at=start_at, stop_at=0.5
        )
        arms[arm].optimizer.update(schedule="linear", decay_at=0.5, learning_rate=2e-3)
    return study("pilots", arms, densities=(), seeds=(100,))
