"""RigL (Evci et al. 2020): prunes the smallest weights, grows those with the largest gradient.

LeNet-300-100 on Fashion-MNIST, 10 epochs, 2 % of the weights left: about 10 s on 2 CPU cores.

    gpnas train --config=rigl --workdir=runs/rigl
"""

from ml_collections import ConfigDict

from gpnas.train import base


def get_config() -> ConfigDict:
    """Prunes and grows 0.3 of each layer at first, decaying until 0.9 of the run (paper: 0.75)."""
    return base(
        name="rigl",
        density=0.02,
        fraction=0.3,
        every="auto",
        stop_at=0.9,
        allocation="erk",
    )
