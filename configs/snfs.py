"""SNFS, sparse momentum (Dettmers & Zettlemoyer 2019).

LeNet-300-100 on Fashion-MNIST, 10 epochs, 2 % of the weights left: about 10 s on 2 CPU cores.

    gpnas train --config=snfs --workdir=runs/snfs
"""

from ml_collections import ConfigDict

from gpnas.train import base


def get_config() -> ConfigDict:
    """Momentum determines where weights grow and how many each layer gets."""
    return base(
        name="snfs",
        density=0.02,
        fraction=0.5,
        every="auto",
        decay=0.9,
        stop_at=1.0,
        allocation="erk",
    )
