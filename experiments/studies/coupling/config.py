"""Does coupling help weights? Development, its ablations and baselines at equal FLOPs.

LeNet-300-100 on Fashion-MNIST, 10 epochs, five densities, 20 paired seeds. The weight decay of each
arm was chosen by `coupling_tuning` at 5, 2 and 1 %, and by `coupling_tuning_sparsest` at 0.5 and
0.2 %. About three hours on 2 CPU cores.

    python experiments/reproduce.py coupling
"""

from ml_collections import ConfigDict

from experiments.studies.coupling.arms import (
    ARMS,
    OURS,
    SPARSEST,
    WINDOW_1,
    WINDOW_1_HIGHER,
    config_of,
)
from gpnas.train import study

DENSITIES = (0.02, 0.01, 0.05, 0.005, 0.002)
SEEDS = tuple(range(20))
#: Densities of the arms with a window of 1: those of GMP, or all.
WINDOW_1_DENSITIES: dict[str, tuple[float, ...]] = {
    "window 1": (0.02, 0.01),
    "window 1 and lower peak": (0.02,),
    WINDOW_1_HIGHER: DENSITIES,
}
#: Weight decay chosen on validation by `coupling_tuning`; 0 for other arms.
CHOSEN: dict[str, float] = {
    "dense": 0.0005,
    "pipeline": 0.0005,
    "magnitude and gradient": 0.0005,
    "random growth": 0.0001,
    "GMP sparse start": 0.0005,
    "GraNet matched": 0.0005,
    "MEST matched": 0.0005,
    "CHTss matched": 0.0005,
    "SET": 0.0001,
    "SNFS": 0.0001,
    "GraNet": 0.0005,
    "GMP": 0.0005,
}
#: Other values chosen by `coupling_tuning_sparsest`, at 0.5 and 0.2 %.
CHOSEN_SPARSEST: dict[str, float] = {
    "development": 0.0005,
    "random growth": 0.0005,
    "pipeline": 0.0001,
}


def weight_decay(name: str, density: float) -> float:
    """Returns the weight decay chosen for an arm at a density; variants have that of `OURS`."""
    name = OURS if name in WINDOW_1 else name
    sparsest = CHOSEN_SPARSEST if density <= max(SPARSEST) else {}
    return sparsest.get(name, CHOSEN.get(name, 0.0))


def get_config() -> ConfigDict:
    """Returns the arms, each at each density; the density follows the @."""
    arms = {"dense": config_of("dense", 1.0, weight_decay("dense", 1.0))}
    for density in DENSITIES:
        for name in ARMS:
            decay = weight_decay(name, density)
            arms[f"{name}@{density:g}"] = config_of(name, density, decay)
    for name, densities in WINDOW_1_DENSITIES.items():
        for density in densities:
            arms[f"{name}@{density:g}"] = config_of(name, density, weight_decay(name, density))
    return study("coupling", arms, densities=(), seeds=SEEDS)
