"""One-shot magnitude pruning (Han et al. 2015): train, prune once, fine-tune.

LeNet-300-100 on Fashion-MNIST, 10 epochs, 2 % of the weights left: about 10 s on 2 CPU cores.

    gpnas train --config=one_shot --workdir=runs/one_shot
"""

from ml_collections import ConfigDict

from gpnas.train import base


def get_config() -> ConfigDict:
    """Dense for half of the run, then only the largest weights."""
    return base(
        name="one_shot",
        density=0.02,
        at=0.5,
        allocation="global",
        select="exact_top_k",
    )
