"""The study `coupling_confirmation` on MNIST, with the weight decay chosen on MNIST.

Again 20 seeds that no study of the page has used. About 45 minutes on 2 CPU cores.

    python experiments/reproduce.py coupling_confirmation_mnist
"""

from ml_collections import ConfigDict

from experiments.studies.coupling_confirmation.config import ARMS, confirmation

#: Weight decay chosen by `coupling_tuning_mnist`, at 5, 2 and 1 %, and at 0.5 and 0.2 %.
CHOSEN: dict[str, tuple[float, float]] = dict.fromkeys(ARMS, (5e-4, 5e-4))


def get_config() -> ConfigDict:
    """Returns each arm at each density; the density follows the @."""
    return confirmation("coupling_confirmation_mnist", "mnist", CHOSEN)
