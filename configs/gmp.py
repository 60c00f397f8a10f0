"""Gradual magnitude pruning (Zhu & Gupta 2017), over all layers at once.

LeNet-300-100 on Fashion-MNIST, 10 epochs, 2 % of the weights left: about 10 s on 2 CPU cores.

    gpnas train --config=gmp --workdir=runs/gmp
"""

from ml_collections import ConfigDict

from gpnas.train import base


def get_config() -> ConfigDict:
    """Starts dense; prunes the smallest weights along a cubic curve until 0.75 of the run."""
    return base(
        name="gmp",
        density=0.02,
        first=1.0,
        start_at=0.0,
        stop_at=0.75,
        every="auto",
        allocation="global",
    )
