"""The study `coupling` on LeNet-5, at 1 % of the weights.

Fashion-MNIST, 10 epochs, five paired seeds; one weight decay for all arms, not chosen on
validation. Layers have densities by ERK in all arms, so that training FLOPs are known before the
runs. About five minutes a run on a CPU core.

    python experiments/reproduce.py coupling_lenet5
"""

from ml_collections import ConfigDict

from configs import lenet5
from experiments.studies.coupling.arms import EPOCHS, REPEATED, STEPS
from experiments.studies.coupling.networks import Setup, arms_on
from gpnas.models import LeNet5
from gpnas.train import study

DENSITY = 0.01


def _configure(config: ConfigDict) -> None:
    network = lenet5.get_config()
    config.model.name = network.model.name
    config.optimizer.update(
        learning_rate=network.optimizer.learning_rate,
        warmup_at=network.optimizer.warmup_at,
        clip_norm=network.optimizer.clip_norm,
    )


SETUP = Setup(LeNet5(), (28, 28, 1), EPOCHS, STEPS, _configure)


def get_config() -> ConfigDict:
    """Returns the repeated arms."""
    arms = arms_on(SETUP, REPEATED, DENSITY)
    return study("coupling_lenet5", arms, densities=(), seeds=(0, 1, 2, 3, 4))
