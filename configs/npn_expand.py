"""Neural plasticity network with expansion (Li & Ji 2021), LeNet-300-100 on MNIST.

Adam, batch 128; the validation loss determines when the next unit of each layer becomes active.

    gpnas train --config=npn_expand --workdir=runs/npn_expand
"""

from ml_collections import ConfigDict

from gpnas.train import base


def get_config() -> ConfigDict:
    """Starts with three units per hidden layer."""
    config = base(
        name="npn_expand",
        penalties=(0.1,),
        decay=5e-4,
        first_units=3,
        sharpness=1.0,
        start_at=0.2,
        stop_at=0.7,
        every="auto",
    )
    config.data.name = "mnist"
    config.train.epochs = 200
    config.train.batch_size = 128
    config.optimizer.name = "adam"
    config.optimizer.learning_rate = 1e-3
    config.optimizer.schedule = "constant"
    config.optimizer.arguments = ConfigDict()
    return config
