"""L0 regularisation by binary gates and the ARM gradient (Li & Ji 2019), LeNet-300-100 on MNIST.

Adam, batch 100, 200 epochs; two forward passes and one backward pass per step.

    gpnas train --config=l0_arm --workdir=runs/l0_arm
"""

from ml_collections import ConfigDict

from gpnas.train import base


def get_config() -> ConfigDict:
    """Gates on the input units of each layer; λ is the penalty per weight."""
    config = base(
        name="l0_arm",
        penalties=(0.1,),
        sharpness=7.0,
        decay=0.0,
        every="auto",
    )
    config.data.name = "mnist"
    config.train.epochs = 200
    config.train.batch_size = 100
    config.optimizer.name = "adam"
    config.optimizer.learning_rate = 1e-3
    config.optimizer.schedule = "constant"
    config.optimizer.arguments = ConfigDict()
    return config
