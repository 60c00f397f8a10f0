"""Dense training, the baseline.

LeNet-300-100 on Fashion-MNIST, 10 epochs, SGD with momentum, cosine: about 10 s on 2 CPU cores.

    gpnas train --config=dense --workdir=runs/dense
"""

from ml_collections import ConfigDict

from gpnas.train import base


def get_config() -> ConfigDict:
    """All 266,200 weights are active at all steps."""
    return base(
        name="dense",
    )
