"""Development and GMP of the README's table, on twenty seeds that no other study has.

The arms, the seeds and the test (the paired difference of the test errors at the last step) were
fixed before the runs. About five minutes on 2 CPU cores.

    python experiments/reproduce.py fashion_fresh
"""

from ml_collections import ConfigDict

from experiments.studies import fashion
from gpnas.train import study

ARMS = ("development", "gmp")
SEEDS = tuple(range(320, 340))


def get_config() -> ConfigDict:
    """Returns the two arms of `fashion` with other seeds."""
    whole = fashion.STUDY.get_config()
    arms = {name: whole.arms[name] for name in ARMS}
    return study("fashion_fresh", arms, densities=whole.densities, seeds=SEEDS)
