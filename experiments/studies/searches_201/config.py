"""Strategies on NAS-Bench-201, selected by the validation error after 12 epochs.

Reported is the test error of the selected network after 200 epochs. A hundred seeds on CIFAR-10,
forty on CIFAR-100.

    python experiments/reproduce.py searches_201
"""

from ml_collections import ConfigDict

from configs.searches import nas_bench_201
from gpnas.search.comparison import make_config


def get_config(data: str = "cifar10") -> ConfigDict:
    """Returns the arms by name.

    Args:
      data: Data set of the errors: "cifar10", or "cifar100" (a separate study).
    """
    config = nas_bench_201.get_config()
    config.evaluations = 400
    config.objectives, config.reports = (f"{data}_validation_12",), (f"{data}_test_200",)
    name = "searches_201" if data == "cifar10" else f"searches_201_{data}"
    arms = {
        "random": {"name": "random"},
        "local search": {"name": "local"},
        "evolution": {"name": "evolution"},
        "LaNAS": {"name": "lanas"},
        "LaNAS released": {"name": "lanas", "regressor": "released"},
        "LA-MCTS": {"name": "lamcts"},
        "predictor": {"name": "predictor"},
    }
    sections = {arm: {"strategy": own} for arm, own in arms.items()}
    return make_config(config, name, sections, seeds=100 if data == "cifar10" else 40)
