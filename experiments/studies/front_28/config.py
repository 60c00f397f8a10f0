"""A front against networks of uniformly scaled widths, on images of 28 × 28 pixels.

    python experiments/reproduce.py front_28

As the study `front`, on Fashion-MNIST at its own size; about a quarter of an hour per seed on one
CPU core.
"""

from ml_collections import ConfigDict

from experiments.studies.front.config import front_alone


def get_config() -> ConfigDict:
    """Returns the study `front` on whole images, without its other arms."""
    config = front_alone("front_28")
    config.rates = (0.05, 0.2)  # those chosen in `front`
    config.front.data.image_size = 0  # as stored
    return config
