"""GraNet (Liu et al. 2021): gradual pruning from a sparse start, with regrowth.

LeNet-300-100 on Fashion-MNIST, 10 epochs, 2 % of the weights left: about 10 s on 2 CPU cores.

    gpnas train --config=granet --workdir=runs/granet
"""

from ml_collections import ConfigDict

from gpnas.train import base


def get_config() -> ConfigDict:
    """From half density along a cubic curve; mask updates also replace weights, at first half."""
    return base(
        name="granet",
        density=0.02,
        first=0.5,
        fraction=0.5,
        every="auto",
        stop_at=0.75,
        allocation="erk",
    )
