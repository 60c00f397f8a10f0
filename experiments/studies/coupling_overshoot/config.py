"""The overshoot of development at equal training FLOPs: lower peaks train for more epochs.

LeNet-300-100 on Fashion-MNIST, 2 % of the weights left; seeds, weight decay and validation as in
`coupling_ablations`. About 40 minutes on one CPU core.

    python experiments/reproduce.py coupling_overshoot
"""

from ml_collections import ConfigDict

from experiments.studies.coupling.arms import EPOCHS, OURS, RUN, STEPS, config_of, target
from experiments.studies.coupling.config import weight_decay
from experiments.studies.coupling_ablations.config import DENSITY, SEEDS
from gpnas.methods import relative_flops
from gpnas.train import study

PEAKS = (1.0, 1.25, 1.5, 2.0, 5.0, 25.0)  # of the density, relative to the final one


def get_config() -> ConfigDict:
    """Returns one arm per peak, with the training FLOPs of development, and development."""
    arms = {OURS: config_of(OURS, DENSITY, weight_decay(OURS, DENSITY))}
    for peak in PEAKS:
        config = config_of(OURS, DENSITY, weight_decay(OURS, DENSITY))
        config.method.peak = peak
        cost = relative_flops(config.method.to_dict(), **RUN, total_steps=STEPS * EPOCHS)
        config.train.epochs = round(EPOCHS * target(DENSITY) / cost)
        arms[f"peak {peak:g} for {config.train.epochs} epochs"] = config
    return study("coupling_overshoot", arms, densities=(), seeds=SEEDS)
