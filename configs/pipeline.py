"""The pipeline: grow by |g| to a peak, then prune by |w|; the two never meet.

LeNet-300-100 on Fashion-MNIST, 10 epochs, 2 % of the weights left: about 10 s on 2 CPU cores.
The control of `development`: its density curve and mask updates, without churn or a common score.

    gpnas train --config=pipeline --workdir=runs/pipeline
"""

from ml_collections import ConfigDict

from gpnas.train import base


def get_config() -> ConfigDict:
    """Twelve times the final density at a tenth of the run, and down again until three quarters."""
    return base(
        name="pipeline",
        density=0.02,
        peak=12.0,
        peak_at=0.1,
        stop_at=0.75,
        every="auto",
        allocation="erk",
        seed_allocation="erk",
    )
