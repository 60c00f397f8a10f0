"""The pipeline: grows by |g| to a peak, then prunes by |w|, never both at once.

LeNet-300-100 on Fashion-MNIST, 10 epochs, 2 % of the weights left: about 10 s on 2 CPU cores. A
control of `development` without churn; the time of the peak, the scores and the allocation differ.

    gpnas train --config=pipeline --workdir=runs/pipeline
"""

from ml_collections import ConfigDict

from gpnas.train import base


def get_config() -> ConfigDict:
    """Twelve times the final density at a tenth of the run, decreasing until three quarters."""
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
