"""LeNet-300-100 on MNIST: every sparse learner beside its paper's number, five seeds.

The rows of docs/reproducing.md. Each arm has its own density or prices; budgets are those of the
configs, in epochs. About four hours on 2 CPU cores; `--config.only=` runs some arms.

    python experiments/sweep.py --config=configs/studies/lenet300.py
"""

from typing import Any

from ml_collections import ConfigDict

from configs import dense, gmp, snfs, sparse_vd
from gpnas.train.study import study


def mnist(module: Any, epochs: int, **method: Any) -> ConfigDict:
    """A method's config on MNIST, batch 100, with some of its fields changed."""
    config = module.get_config()
    config.data.name = "mnist"
    config.train.epochs = epochs
    config.train.batch_size = 100
    config.method.update(method)
    return config


def get_config() -> ConfigDict:
    """Arms by name; the seeds of the tuning (100 to 102) are others."""
    arms = {
        "dense": mnist(dense, 100),
        "sparse VD": mnist(sparse_vd, 200),
        "SNFS 5 %": mnist(snfs, 100, density=0.05, every=540),
        "SNFS 2 %": mnist(snfs, 100, density=0.02, every=540),
        "SNFS 1 %": mnist(snfs, 100, density=0.01, every=540),
        "GMP 1 %": mnist(gmp, 100, density=0.01),
    }
    return study("lenet300", arms, densities=(), seeds=(0, 1, 2, 3, 4))
