"""Development of cells: edges of a supernet's cell are grown and pruned (docs/development.md).

Each of the six edges of a cell can have any of four operations. Of these 24, a quarter is active at
the start, half at the peak, and a quarter at the end. The result is in the run's architecture.json,
from which `gpnas.models.from_architecture` builds a plain network. Fashion-MNIST at 14 × 14, 10
epochs.

    gpnas train --config=development_cell --workdir=runs/cell
"""

from ml_collections import ConfigDict

from gpnas.train import base


def get_config() -> ConfigDict:
    """All channels stay active; the run selects six of 24 operations."""
    config = base(
        name="development_units",
        density=1.0,
        peak=1.0,
        peak_at=0.2,
        stop_at=0.6,
        churn=0.3,
        decay=0.9,
        every="auto",
        window="auto",
        spare=0.0,
        block_density=0.25,
        block_peak=2.0,
    )
    config.data.image_size = 14
    config.model.name = "cellnet"
    config.model.channels = 8
    config.model.cells = 1
    return config
