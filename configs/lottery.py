"""Lottery tickets (Frankle & Carbin 2019) of LeNet-300-100 on MNIST, with both controls.

Adam 1.2e-3, batch 60, as in the paper; 46 trainings (one dense, and 15 rounds of a ticket and its
two controls) of 10 epochs or 9,000 steps, where the paper has 50,000: a reduced budget. About ten
minutes on 2 CPU cores.

    gpnas train --config=lottery --workdir=runs/lottery
"""

from ml_collections import ConfigDict

from gpnas.train import base


def get_config() -> ConfigDict:
    """Each round prunes a fifth of each layer, a tenth of the last."""
    config = base(
        name="lottery",
        rounds=15,
        fraction=0.2,
        last_fraction=0.1,
        rewind_at=0.0,
        controls=True,
    )
    config.data.name = "mnist"
    config.train.epochs = 460
    config.train.batch_size = 60
    config.train.log_every = 900
    config.optimizer.name = "adam"
    config.optimizer.learning_rate = 1.2e-3
    config.optimizer.schedule = "constant"
    config.optimizer.arguments = ConfigDict()
    return config
