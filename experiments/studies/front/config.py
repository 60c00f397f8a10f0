"""A front from one run against networks of scaled widths, and an ablation of its parts.

    python experiments/reproduce.py front

Fashion-MNIST at 14 × 14 pixels, a small convolutional network; about ten minutes per seed on 2 CPU
cores. The rate of each kind of network was chosen by validation error on the tuning seeds.
"""

from ml_collections import ConfigDict

from configs import front
from experiments.studies.recipes import pinned


def get_config() -> ConfigDict:
    """Returns arms, seeds, and the front's settings."""
    config = ConfigDict()
    config.study = "front"
    config.arms = (
        "front", "dense", "exchange", "random units", "equal shares", "multiples of 8",
        "twice as long", "three times as long", "14 epochs", "six networks",
    )  # fmt: skip
    config.timed = ("front", "multiples of 8")  # with onnxruntime, if installed
    config.seconds = 0.3  # per measurement
    config.rates = (0.05, 0.1, 0.2)  # candidates, chosen by the tuning seeds
    config.tuning_seeds = (100,)
    config.seeds = (0, 1, 2, 3, 4)
    config.front = pinned(front.get_config())
    config.front.data.image_size = 14
    config.front.train.tensorboard = False
    return config


def front_alone(name: str) -> ConfigDict:
    """Returns the study without its other arms, for another network or data set.

    Args:
      name: Name of the study.
    """
    config = get_config()
    config.study, config.arms, config.timed = name, ("front",), ()
    return config
