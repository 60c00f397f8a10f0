"""A front against networks of uniformly scaled widths, on CIFAR-10 with augmentation.

    python experiments/reproduce.py front_cifar10

As the study `front`, on 16 × 16 colour images; about a quarter of an hour per seed on one CPU core.
The committed records are of CIFAR-10 as JPEG images, in a folder `cifar10_jpeg` where the command
is started.
"""

from ml_collections import ConfigDict

from experiments.studies.front.config import front_alone


def get_config() -> ConfigDict:
    """Returns the study `front` on CIFAR-10, without its other arms."""
    config = front_alone("front_cifar10")
    config.front.data.name = "folder:cifar10_jpeg"
    config.front.data.image_size = 16
    config.front.data.augment = "pad_crop(2)|flip_lr"
    return config
