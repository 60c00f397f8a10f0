"""Tuning for docs/coupling.md: the weight decay of each arm, on validation.

Three values for each arm at two densities, three seeds not used by the study. The criterion is the
lowest mean validation error at the last step over both densities. Test errors are not used.
About 25 minutes on 2 CPU cores.

    python experiments/reproduce.py coupling_tuning
"""

from ml_collections import ConfigDict

from experiments.studies.coupling.arms import ARMS, config_of
from gpnas.train import study

DENSITIES = (0.02, 0.01)
WEIGHT_DECAYS = (0.0, 1e-4, 5e-4)
SEEDS = (100, 101, 102)


def get_config() -> ConfigDict:
    """Returns one arm per setting; after the @: density and weight decay."""
    arms = {f"dense@1 {decay:g}": config_of("dense", 1.0, decay) for decay in WEIGHT_DECAYS}
    for name in ARMS:
        for density in DENSITIES:
            for decay in WEIGHT_DECAYS:
                arms[f"{name}@{density:g} {decay:g}"] = config_of(name, density, decay)
    return study("coupling_tuning", arms, densities=(), seeds=SEEDS)
