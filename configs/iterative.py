"""Iterative magnitude pruning (Han et al. 2015), without rewinding.

LeNet-300-100 on Fashion-MNIST, 10 epochs, 2 % of the weights left: about 10 s on 2 CPU cores.

    gpnas train --config=iterative --workdir=runs/iterative
"""

from ml_collections import ConfigDict

from gpnas.train import base


def get_config() -> ConfigDict:
    """Ten pruning rounds of equal fraction, with training in between."""
    return base(
        name="iterative",
        density=0.02,
        rounds=10,
        start_at=0.1,
        stop_at=0.75,
        allocation="global",
    )
