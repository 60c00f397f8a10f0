"""A front of a residual network against networks of uniformly scaled widths.

    python experiments/reproduce.py front_resnet

As the study `front`, with ResNet-8 of width 16 instead of the convolutional network; about half an
hour per seed on one CPU core.
"""

from ml_collections import ConfigDict

from experiments.studies.front.config import front_alone


def get_config() -> ConfigDict:
    """Returns the study `front` for a residual network, without its other arms."""
    config = front_alone("front_resnet")
    config.front.model.name = "resnet"
    return config
