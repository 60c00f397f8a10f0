"""Confirmation on new seeds: development with a window of 1, and baselines at equal FLOPs.

The study `coupling` with 20 seeds that no study of its page has used. Arms, weight decay and the
comparison were committed before the runs: the test error of development with a window of 1 minus
that of each other arm, averaged over log density, corrected by Holm. About 45 minutes on 2 CPU
cores.

`WITHOUT_CHURN` came later: `coupling_growth` showed an effect on validation images at 0.2 %. Its
runs were made after this choice, of the density and of the one comparison.

    python experiments/reproduce.py coupling_confirmation
"""

from collections.abc import Mapping

from ml_collections import ConfigDict

from experiments.studies.coupling.arms import SPARSEST, WINDOW_1_HIGHER, config_of
from experiments.studies.coupling.config import DENSITIES
from gpnas.train import study

ARMS = (
    WINDOW_1_HIGHER,
    "pipeline",
    "magnitude and gradient",
    "random growth",
    "GMP sparse start",
    "GraNet matched",
)
#: Development with a window of 1 whose mask updates either grow or prune, at one density.
WITHOUT_CHURN, DENSITY_WITHOUT_CHURN = "without churn", 0.002
SEEDS = tuple(range(20, 40))
#: Weight decay chosen by `coupling_tuning_confirmation`, at 5, 2 and 1 %, and at 0.5 and 0.2 %.
CHOSEN: dict[str, tuple[float, float]] = {
    WINDOW_1_HIGHER: (5e-4, 5e-4),
    "pipeline": (1e-3, 1e-3),
    "magnitude and gradient": (5e-4, 1e-3),
    "random growth": (1e-4, 5e-4),
    "GMP sparse start": (0.0, 5e-4),
    "GraNet matched": (5e-4, 2e-3),
}


def get_config() -> ConfigDict:
    """Returns each arm at each density; the density follows the @."""
    return confirmation("coupling_confirmation", "fashion_mnist", CHOSEN)


def confirmation(
    name: str, data: str, weight_decay: Mapping[str, tuple[float, float]]
) -> ConfigDict:
    """Returns the study on a data set.

    Args:
      name: Name of the study.
      data: Name of the data set.
      weight_decay: By arm, at the higher densities and at `SPARSEST`.
    """
    arms = {}
    for density in DENSITIES:
        for arm in ARMS:
            config = config_of(arm, density, weight_decay[arm][density in SPARSEST])
            config.data.name = data
            arms[f"{arm}@{density:g}"] = config
    without = arms[f"{WINDOW_1_HIGHER}@{DENSITY_WITHOUT_CHURN:g}"].copy_and_resolve_references()
    without.method.churn = 0.0
    arms[f"{WITHOUT_CHURN}@{DENSITY_WITHOUT_CHURN:g}"] = without
    return study(name, arms, densities=(), seeds=SEEDS)
