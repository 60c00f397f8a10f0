"""Static sparse training (Mocanu et al. 2018): random masks that never change.

LeNet-300-100 on Fashion-MNIST, 10 epochs, 2 % of the weights left: about 10 s on 2 CPU cores.

    gpnas train --config=static --workdir=runs/static
"""

from ml_collections import ConfigDict

from gpnas.train import base


def get_config() -> ConfigDict:
    """Erdős–Rényi densities, drawn once."""
    return base(
        name="static",
        density=0.02,
        allocation="erk",
    )
