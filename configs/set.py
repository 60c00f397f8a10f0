"""SET (Mocanu et al. 2018): prunes the smallest weights, grows random ones.

LeNet-300-100 on Fashion-MNIST, 10 epochs, 2 % of the weights left: about 10 s on 2 CPU cores.

    gpnas train --config=set --workdir=runs/set
"""

from ml_collections import ConfigDict

from gpnas.train import base


def get_config() -> ConfigDict:
    """Each mask update prunes 0.3 of each layer and grows as many random weights."""
    return base(
        name="set",
        density=0.02,
        fraction=0.3,
        every="auto",
        allocation="erk",
    )
