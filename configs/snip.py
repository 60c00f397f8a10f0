"""SNIP (Lee et al. 2019): prunes before training, by |w·g| on the first batch.

LeNet-300-100 on Fashion-MNIST, 10 epochs, 2 % of the weights left: about 10 s on 2 CPU cores.

    gpnas train --config=snip --workdir=runs/snip
"""

from ml_collections import ConfigDict

from gpnas.train import base


def get_config() -> ConfigDict:
    """One mask update, from the gradients of one batch."""
    return base(
        name="snip",
        density=0.02,
        allocation="global",
    )
