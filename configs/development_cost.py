"""Development under a cost curve: units of all layers compete, and the widths are found.

gpnas train --config=development_cost --workdir=runs/cost
"""

from ml_collections import ConfigDict

from gpnas.train import base


def get_config() -> ConfigDict:
    """A quarter of the MACs of a small convolutional network, walked down from the whole."""
    config = base(
        name="development_cost", curve=((0.0, 1.0), (0.6, 0.25)), cost="macs",
        every="auto", window="auto",
    )  # fmt: skip
    config.model.name = "convnet"
    config.optimizer.learning_rate = 0.05
    config.optimizer.weight_decay = 5e-4
    config.optimizer.warmup_at = 0.05
    return config
