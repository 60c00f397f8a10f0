"""Search strategies: functions of the trial history."""

from collections.abc import Callable, Mapping

from gpnas.search._history import Propose
from gpnas.search.strategies._asha import asha
from gpnas.search.strategies._bulk_and_cut import bulk_and_cut
from gpnas.search.strategies._evolution import evolution
from gpnas.search.strategies._halving import check_budgets, hyperband, successive_halving
from gpnas.search.strategies._lamcts import lamcts
from gpnas.search.strategies._lanas import lanas
from gpnas.search.strategies._lemonade import lemonade
from gpnas.search.strategies._local import local_search
from gpnas.search.strategies._nsga2 import nsga2
from gpnas.search.strategies._predictor import predictor
from gpnas.search.strategies._random import random

#: Constructors of strategies by name.
STRATEGIES: Mapping[str, Callable[..., Propose]] = {
    "random": random,
    "local": local_search,
    "evolution": evolution,
    "lanas": lanas,
    "lamcts": lamcts,
    "predictor": predictor,
    "nsga2": nsga2,
    "lemonade": lemonade,
    "bulk_and_cut": bulk_and_cut,
    "successive_halving": successive_halving,
    "hyperband": hyperband,
    "asha": asha,
}

__all__ = [
    "STRATEGIES", "asha", "bulk_and_cut", "check_budgets", "evolution", "hyperband", "lamcts",
    "lanas", "lemonade", "local_search", "nsga2", "predictor", "random", "successive_halving",
]  # fmt: skip
