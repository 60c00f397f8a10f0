"""The study `coupling_tuning` at 0.5 and 0.2 %, for the arms of equal training FLOPs.

Three values of weight decay, three seeds not used by the study; the criterion is the lowest mean
validation error at the last step over both densities. SENN's scores are left out: at 2 % their
error is far higher. About 30 minutes on a CPU core.

    python experiments/reproduce.py coupling_tuning_sparsest
"""

from ml_collections import ConfigDict

from experiments.studies.coupling.arms import ARMS, SPARSEST, config_of
from experiments.studies.coupling_tuning.config import SEEDS, WEIGHT_DECAYS
from gpnas.train import study

TUNED = tuple(name for name, arm in ARMS.items() if arm.solved and name != "SENN scores")


def get_config() -> ConfigDict:
    """Returns one arm per setting; after the @: density and weight decay."""
    arms = {
        f"{name}@{density:g} {decay:g}": config_of(name, density, decay)
        for name in TUNED
        for density in SPARSEST
        for decay in WEIGHT_DECAYS
    }
    return study("coupling_tuning_sparsest", arms, densities=(), seeds=SEEDS)
