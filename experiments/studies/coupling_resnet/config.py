"""The study `coupling` on a residual network and CIFAR-10 with augmentation, at 5 %.

ResNet-8 on 16 × 16 colour images, 10 epochs, three paired seeds, about five minutes a run on a CPU
core. Layers have densities by ERK in all arms, so that training FLOPs are known before the runs.
The images are those of CIFAR-10 as JPEG files, in a folder `cifar10_jpeg` where the command is
started.

    python experiments/reproduce.py coupling_resnet
"""

from ml_collections import ConfigDict

from configs import resnet_cifar
from experiments.studies.coupling.arms import REPEATED
from experiments.studies.coupling.networks import Setup, arms_on
from gpnas.models import ResNet
from gpnas.train import study

DENSITY = 0.05
EPOCHS = 10
STEPS = 351  # per epoch
SIDE = 16  # of an image, in pixels
MODULE = ResNet()  # ResNet-8 of width 16


def _configure(config: ConfigDict) -> None:
    config.data.update(name="folder:cifar10_jpeg", image_size=SIDE, augment="pad_crop(2)|flip_lr")
    config.model.update(name="resnet", blocks=MODULE.blocks, width=MODULE.width)
    config.optimizer.learning_rate = resnet_cifar.get_config().optimizer.learning_rate


SETUP = Setup(MODULE, (SIDE, SIDE, 3), EPOCHS, STEPS, _configure)


def get_config() -> ConfigDict:
    """Returns the repeated arms and the dense network."""
    arms = arms_on(SETUP, (*REPEATED, "dense"), DENSITY)
    return study("coupling_resnet", arms, densities=(), seeds=(0, 1, 2))
