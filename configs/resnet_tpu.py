"""Development of ResNet-20 on CIFAR-10 for a TPU or GPU host: bfloat16, data-parallel.

All devices of the host share the batch (`train.parallel = "jit"` shards it; "pmap" works too).

    gpnas train --config=resnet_tpu --workdir=runs/resnet
"""

from ml_collections import ConfigDict

from gpnas.configs import development


def get_config() -> ConfigDict:
    """ResNet-20, batch 1024, learning rate 0.4 with warm-up, 5 % of the weights left."""
    config = development.get_config()
    config.data.name = "cifar10"
    config.model.name = "resnet"
    config.model.dtype = "bfloat16"
    config.model.conv = "xla"
    config.model.blocks = 3
    config.model.width = 16
    config.train.epochs = 160
    config.train.batch_size = 1024
    config.train.log_every = 50
    config.optimizer.learning_rate = 0.4
    config.optimizer.warmup_at = 0.05
    config.optimizer.weight_decay = 5e-4
    config.method.density = 0.05
    config.method.peak = 6.0
    return config
