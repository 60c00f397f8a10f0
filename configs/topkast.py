"""Top-KAST (Jayakumar et al. 2020): sparse forward, a little less sparse backward.

LeNet-300-100 on Fashion-MNIST, 10 epochs, 2 % of the weights left: about 10 s on 2 CPU cores.

    gpnas train --config=topkast --workdir=runs/topkast
"""

from ml_collections import ConfigDict

from gpnas.train import base


def get_config() -> ConfigDict:
    """The largest 2 % are used, the largest 12 % learn."""
    return base(
        name="topkast",
        density=0.02,
        extra=0.1,
        decay=0.0001,
        every="auto",
        allocation="erk",
    )
