"""The study `coupling_confirmation` on MNIST, with the weight decay chosen on MNIST.

Again 20 seeds that no study of the page has used. About 45 minutes on 2 CPU cores.

    python experiments/reproduce.py coupling_confirmation_mnist
"""

from ml_collections import ConfigDict

from experiments.studies.coupling.arms import SPARSEST
from experiments.studies.coupling_confirmation.config import confirmation

#: Weight decay chosen on validation images by `coupling_tuning_mnist`.
CHOSEN: dict[str, float] = {}
#: The same at 0.5 and 0.2 %.
CHOSEN_SPARSEST: dict[str, float] = {}


def weight_decay(name: str, density: float) -> float:
    """Returns the value chosen on validation images of MNIST for an arm at a density."""
    return (CHOSEN_SPARSEST if density <= max(SPARSEST) else CHOSEN)[name]


def get_config() -> ConfigDict:
    """Returns each arm at each density; the density follows the @."""
    return confirmation("coupling_confirmation_mnist", "mnist", weight_decay)
