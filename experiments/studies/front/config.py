"""A front from one run beside networks of scaled widths, and what each part of it does.

    python experiments/reproduce.py front

Fashion-MNIST at 14 × 14 pixels, a small convolutional network; about ten minutes a seed on 2 CPU
cores. The rate of each kind of network was chosen by validation error on the tuning seeds.
"""

from ml_collections import ConfigDict

from configs import front
from experiments.studies.recipes import pinned


def get_config() -> ConfigDict:
    """Arms, seeds and the front that all of them share."""
    config = ConfigDict()
    config.study = "front"
    config.arms = (
        "front", "dense", "exchange", "random units", "equal shares", "multiples of 8",
        "twice as long", "14 epochs", "six networks",
    )  # fmt: skip
    config.timed = ("front", "multiples of 8")  # with onnxruntime, where it is installed
    config.seconds = 0.3  # of each measurement
    config.rates = (0.05, 0.1, 0.2)  # among which the tuning seeds decide
    config.tuning_seeds = (100,)
    config.seeds = (0, 1, 2, 3, 4)
    config.front = pinned(front.get_config())
    config.front.data.image_size = 14
    config.front.train.tensorboard = False
    return config
