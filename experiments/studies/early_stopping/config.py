"""Early stopping on NAS-Bench-201: 12 epochs for many networks, 200 for the best of them.

Strategies rank networks by the validation error after 12 epochs, and finally by the test error
after 200, since the table has no other: an oracle search, the same for all arms.

    python experiments/reproduce.py early_stopping
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """Returns the arms by name."""
    config = ConfigDict()
    config.study = "early_stopping"
    config.space = "nas_bench_201"
    config.budgets = (12, 200)  # epochs
    config.columns = ("cifar10_validation_12", "cifar10_test_200")  # their metrics
    config.workers = 8
    config.epochs = 40_000  # of all workers: 200 fully trained networks
    config.seeds = 30
    arms = {
        "random": {"name": "random"},
        "successive halving": {"name": "successive_halving", "reduction": 16},
        "Hyperband": {"name": "hyperband", "reduction": 16},
        "ASHA": {"name": "asha", "reduction": 16},
        "ASHA, one in 4": {"name": "asha", "reduction": 4},
    }
    config.arms = ConfigDict(arms, allow_dotted_keys=True, type_safe=False)
    return config
