"""Neural plasticity network with sparsification (Li & Ji 2021), LeNet-300-100 on MNIST.

Adam, batch 128; gates are trained in the middle of the run.

    gpnas train --config=npn_sparsify --workdir=runs/npn_sparsify
"""

from ml_collections import ConfigDict

from gpnas.train import base


def get_config() -> ConfigDict:
    """Starts with all units; gates close some; the others are trained further."""
    config = base(
        name="npn_sparsify",
        penalties=(0.1,),
        decay=5e-4,
        sharpness=7.0,
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
