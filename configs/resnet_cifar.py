"""Dense ResNet-20 on CIFAR-10 by the recipe of He et al. 2016 (arXiv:1512.03385), section 4.2.

Their test error is 8.75 %. This config has not been run to its end: a step takes about a second on
2 CPU cores, and there are 63,882 (182 epochs of 351; the paper has 64,000). It trains on 45,000
images, as the paper does to choose the schedule.

The network differs from the paper's: shortcuts that change the width are 1 × 1 convolutions with
batch norm (2,560 more weights) instead of strided identities, the scale of each block's last batch
norm is initialized to zero, and weights have LeCun's initialization. Images are standardized per
channel, where the paper subtracts the mean of each pixel, and biases and batch norms have no weight
decay.

    gpnas train --config=resnet_cifar --workdir=runs/resnet20
"""

import optax
from ml_collections import ConfigDict

from gpnas.train import base


def steps(rate: float, total: int) -> optax.Schedule:
    """The rate, divided by 10 after half and after three quarters of the steps."""
    return optax.piecewise_constant_schedule(rate, {total // 2: 0.1, 3 * total // 4: 0.1})


def get_config() -> ConfigDict:
    """Batches of 128, momentum 0.9, learning rate 0.1 in three steps, shifts by 4 pixels, flips."""
    config = base(name="dense")
    config.data.name = "cifar10"
    config.data.augment = "pad_crop(4)|flip_lr"
    config.model.name = "resnet"
    config.model.blocks = 3
    config.model.width = 16
    config.train.epochs = 182
    config.train.batch_size = 128
    config.optimizer.learning_rate = 0.1
    config.optimizer.schedule = "gpnas.configs.resnet_cifar:steps"
    config.optimizer.weight_decay = 1e-4
    return config
