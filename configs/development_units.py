"""Development of units: neurons and channels are overgrown, then pruned (docs/development.md).

LeNet-5 on Fashion-MNIST, 10 epochs: from a quarter of its channels and neurons to 1.5 times as many
and back. With `--config.elastic=True`, arrays have the size of the active network, which trains in
a fraction of the time. With `--config.model.name=resnet`, blocks are also pruned
(`--config.method.block_density=0.5`).

    gpnas train --config=development_units --workdir=runs/units
"""

from ml_collections import ConfigDict

from gpnas.train import base


def get_config() -> ConfigDict:
    """A quarter of the width; in the first tenth of the run it grows by half of that."""
    config = base(
        name="development_units",
        density=0.25,
        peak=1.5,
        peak_at=0.1,
        stop_at=0.6,
        churn=0.3,
        decay=0.9,
        every="auto",
        window="auto",
        spare=0.25,
        block_density=1.0,
        block_peak=1.0,
    )
    config.model.name = "lenet5"
    config.optimizer.learning_rate = 0.02
    return config
