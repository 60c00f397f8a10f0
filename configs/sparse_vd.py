"""Sparse variational dropout (Molchanov et al. 2017) of LeNet-300-100 on MNIST.

The paper's recipe: Adam, batch 100, 200 epochs, the divergence ramped up between epochs 5 and 20.
About six minutes on 2 CPU cores.

    gpnas train --config=sparse_vd --workdir=runs/sparse_vd
"""

from ml_collections import ConfigDict

from gpnas.train import base


def get_config() -> ConfigDict:
    """The sparsity depends on the data; there is no density setting."""
    config = base(
        name="sparse_vd",
        threshold=3.0,
        log_variance=-10.0,
        weight=1.0,
        start_at=0.025,
        full_at=0.1,
        stop_at=1.0,
        every="auto",
        remove=True,
    )
    config.data.name = "mnist"
    config.train.epochs = 200
    config.train.batch_size = 100
    config.optimizer.name = "adam"
    config.optimizer.learning_rate = 1e-3
    config.optimizer.schedule = "linear"
    config.optimizer.decay_at = 0.5
    config.optimizer.arguments = ConfigDict()
    return config
