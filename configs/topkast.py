"""Top-KAST (Jayakumar et al. 2020): sparse forward pass, less sparse backward pass.

LeNet-300-100 on Fashion-MNIST, 10 epochs, 2 % of the weights left: about 10 s on 2 CPU cores.

    gpnas train --config=topkast --workdir=runs/topkast
"""

from ml_collections import ConfigDict

from gpnas.train import base


def get_config() -> ConfigDict:
    """The forward pass uses the largest 2 %; the largest 12 % are trained."""
    return base(
        name="topkast",
        density=0.02,
        extra=0.1,
        decay=0.0001,
        every="auto",
        allocation="erk",
    )
