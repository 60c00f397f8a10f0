"""Development of LeNet-5 (Caffe) on Fashion-MNIST, 2 % of the weights left.

20 epochs; on a CPU the convolutions run as matrix products (`model.conv`).

    gpnas train --config=lenet5 --workdir=runs/lenet5
"""

from ml_collections import ConfigDict

from gpnas.configs import development


def get_config() -> ConfigDict:
    """As `development`, with another network."""
    config = development.get_config()
    config.model.name = "lenet5"
    config.train.epochs = 20
    config.optimizer.learning_rate = 0.05
    config.optimizer.warmup_at = 0.05
    config.optimizer.clip_norm = 1.0  # without it, batches of a few images diverged
    return config
