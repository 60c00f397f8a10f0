"""Tuning for docs/coupling.md: the weight decay of each arm, on validation.

Three values for each arm at 2 and 1 %, and for the arms of equal training FLOPs also at 0.5 and
0.2 %; three seeds not used by the study. The criterion is the lowest mean validation error at the
last step over both densities. Test errors are not used. Longer runs use the values chosen for the
same method. About 50 minutes on 2 CPU cores.

    python experiments/reproduce.py coupling_tuning
"""

from ml_collections import ConfigDict

from experiments.studies.coupling.arms import ARMS, SPARSEST, config_of
from gpnas.train import study

DENSITIES = (0.02, 0.01)
#: Arms that are tuned at `SPARSEST` as well: those of equal training FLOPs, without SENN's scores,
#: whose error is far higher at 2 %.
FURTHER = tuple(
    name for name, arm in ARMS.items() if arm.solved not in ("", "epochs") and name != "SENN scores"
)
WEIGHT_DECAYS = (0.0, 1e-4, 5e-4)


def get_config() -> ConfigDict:
    """Returns one arm per setting; after the @: density and weight decay."""
    arms = {f"dense@1 {decay:g}": config_of("dense", 1.0, decay) for decay in WEIGHT_DECAYS}
    for name, arm in ARMS.items():
        densities = () if arm.solved == "epochs" else DENSITIES
        for density in (*densities, *(SPARSEST if name in FURTHER else ())):
            for decay in WEIGHT_DECAYS:
                arms[f"{name}@{density:g} {decay:g}"] = config_of(name, density, decay)
    return study("coupling_tuning", arms, densities=(), seeds=(100, 101, 102))
