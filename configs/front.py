"""A front of networks from one run on Fashion-MNIST: 50, 25, 12 and 6 % of the MACs.

gpnas front --config=front --workdir=runs/front
"""

from ml_collections import ConfigDict

from gpnas.train import front_config


def get_config() -> ConfigDict:
    """A small convolutional network; `--config.model.name=resnet` selects another one."""
    config = front_config()
    config.train.epochs = 8
    config.optimizer.learning_rate = 0.05
    config.optimizer.weight_decay = 5e-4
    return config
