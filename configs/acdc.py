"""AC/DC (Peste et al. 2021): alternating sparse and dense phases.

LeNet-300-100 on Fashion-MNIST, 10 epochs, 2 % of the weights left: about 10 s on 2 CPU cores.

    gpnas train --config=acdc --workdir=runs/acdc
"""

from ml_collections import ConfigDict

from gpnas.train import base


def get_config() -> ConfigDict:
    """Five sparse phases, each followed by a dense one, then a final sparse phase."""
    return base(
        name="acdc",
        density=0.02,
        warmup_at=0.1,
        stop_at=0.75,
        phases=5,
        allocation="global",
    )
