"""The study `coupling_confirmation` on MNIST, with the weight decay chosen on MNIST.

Again 20 seeds that no study of the page has used. About 45 minutes on 2 CPU cores.

    python experiments/reproduce.py coupling_confirmation_mnist
"""

from ml_collections import ConfigDict

from experiments.studies.coupling.arms import WINDOW_1_HIGHER
from experiments.studies.coupling_confirmation.config import confirmation

#: Weight decay chosen by `coupling_tuning_mnist`, at 5, 2 and 1 %, and at 0.5 and 0.2 %.
CHOSEN: dict[str, tuple[float, float]] = {
    WINDOW_1_HIGHER: (5e-4, 1e-3),
    "pipeline": (2e-3, 2e-3),
    "magnitude and gradient": (2e-3, 2e-3),
    "random growth": (1e-3, 1e-3),
    "GMP sparse start": (5e-4, 2e-3),
    "GraNet matched": (5e-4, 2e-3),
}


def get_config() -> ConfigDict:
    """Returns each arm at each density; the density follows the @."""
    return confirmation("coupling_confirmation_mnist", "mnist", CHOSEN)
