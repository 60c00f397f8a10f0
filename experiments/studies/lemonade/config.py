"""LEMONADE on Fashion-MNIST beside what it is made of and what came before and after it.

Equal training steps for all, those of distillation included: 2,400 a search, three seeds. Those
that do not inherit train each candidate afresh. About an hour on 2 CPU cores.

    python experiments/reproduce.py lemonade
"""

from ml_collections import ConfigDict

from configs.searches import lemonade
from gpnas.search.comparison import make_config


def get_config() -> ConfigDict:
    """Arms by name."""
    own = {"name": "lemonade", "first": 6}
    afresh = {"inherit": False}
    arms: dict[str, dict] = {
        "LEMONADE": {"strategy": own},
        "without inheritance": {"strategy": own, "training": afresh},
        "without KDE": {"strategy": own | {"kde": False}},
        "BULK & CUT": {"strategy": {"name": "bulk_and_cut", "first": 6, "bulk": 16}},
        "NSGA-II": {"strategy": {"name": "nsga2", "population": 6}, "training": afresh},
        "random": {"strategy": {"name": "random"}},
    }
    return make_config(lemonade.get_config(), "lemonade", arms, seeds=3)
