"""SeReNe, sensitivity of neurons (Tartaglione et al. 2021), of LeNet-300-100 on MNIST.

SGD without momentum, batch 100; pruned at plateaus of the validation loss.

    gpnas train --config=serene --workdir=runs/serene
"""

from ml_collections import ConfigDict

from gpnas.train import base


def get_config() -> ConfigDict:
    """Neurons to which the outputs are insensitive decay, and are pruned at plateaus."""
    config = base(
        name="serene",
        density=0.01,
        kind="lower_bound",
        positions="mean",
        rate=1e-4,
        refresh=1,
        patience="auto",
        slack=0.01,
        tolerance=0.05,
        stop_at=0.9,
    )
    config.data.name = "mnist"
    config.train.epochs = 300
    config.train.batch_size = 100
    config.optimizer.learning_rate = 0.1
    config.optimizer.schedule = "cosine"
    config.optimizer.arguments = ConfigDict({"momentum": 0.0})
    config.optimizer.decay_at = 0.9
    return config
