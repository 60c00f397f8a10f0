"""Development under a cost curve: units of all layers compete, which determines the widths.

gpnas train --config=development_cost --workdir=runs/cost
"""

from ml_collections import ConfigDict

from gpnas.train import base


def get_config() -> ConfigDict:
    """Shrinks a small convolutional network to a quarter of its MACs."""
    config = base(
        name="development_cost", curve=((0.0, 1.0), (0.6, 0.25)), cost="macs",
        every="auto", window="auto",
    )  # fmt: skip
    config.model.name = "convnet"
    config.optimizer.learning_rate = 0.05
    config.optimizer.weight_decay = 5e-4
    config.optimizer.warmup_at = 0.05
    return config
