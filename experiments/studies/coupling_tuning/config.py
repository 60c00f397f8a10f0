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
#: The solved field at 2 and 1 %, by an earlier `match_flops`: training FLOPs are -1 to +8 % off.
SOLVED = {
    "pipeline": (13.53, 15.89),
    "magnitude and gradient": (14.31, 16.82),
    "random growth": (14.31, 16.82),
    "GMP sparse start": (0.3214, 0.1946),
    "GraNet matched": (0.3093, 0.182),
    "MEST matched": (0.08348, 0.05114),
    "CHTss matched": (0.1707, 0.1023),
}


def get_config() -> ConfigDict:
    """Returns one arm per setting; after the @: density and weight decay."""
    arms = {f"dense@1 {decay:g}": config_of("dense", 1.0, decay) for decay in WEIGHT_DECAYS}
    for name, arm in ARMS.items():
        for at, density in enumerate(DENSITIES):
            for decay in WEIGHT_DECAYS:
                arms[f"{name}@{density:g} {decay:g}"] = config = config_of(name, density, decay)
                if name in SOLVED:
                    config.method[arm.solved] = SOLVED[name][at]
    return study("coupling_tuning", arms, densities=(), seeds=SEEDS)
