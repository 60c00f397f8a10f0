"""LEMONADE on Fashion-MNIST against its components, predecessors and successors.

Equal training steps for all, including distillation: 2,400 per search, three seeds. Arms without
inheritance train each candidate from scratch. About an hour on 2 CPU cores.

    python experiments/reproduce.py lemonade
"""

from ml_collections import ConfigDict

from configs.searches import lemonade
from gpnas.search.comparison import make_config


def get_config() -> ConfigDict:
    """Returns the arms by name."""
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
