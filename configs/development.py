"""Development: coupled growth and pruning, the method of this project (docs/development.md).

LeNet-300-100 on Fashion-MNIST, 10 epochs, 2 % of the weights left: about 10 s on 2 CPU cores.

    gpnas train --config=development --workdir=runs/development
"""

from ml_collections import ConfigDict

from gpnas.train import base


def get_config() -> ConfigDict:
    """From 2 % to a peak and back, with weights exchanged at each mask update."""
    return base(
        name="development",
        density=0.02,
        peak=12.0,
        peak_at=0.05,
        stop_at=0.75,
        churn=0.3,
        drop="magnitude",
        grow="growth_gain",
        decay=0.9,
        every="auto",
        window=1,
        allocation="global",
        seed_allocation="erk",
    )
