"""L0 regularisation by hard concrete gates (Louizos et al. 2018) of LeNet-300-100 on MNIST.

The paper's recipe: Adam, batch 100, 200 epochs.

    gpnas train --config=l0 --workdir=runs/l0
"""

from ml_collections import ConfigDict

from gpnas.train import base


def get_config() -> ConfigDict:
    """Gates on the input units of each layer; λ is the penalty per weight."""
    config = base(
        name="l0",
        penalties=(0.1,),
        drops=(0.2, 0.5, 0.5),
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
