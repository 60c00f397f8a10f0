"""Prunes a trained network to a quarter of its MACs during further training.

The config's `model` is the trained network's, and `train.init_from` its weights: the folder of a
run, a safetensors file, a folder of Orbax, or `module:function` (docs/own.md).

    gpnas train --config=dense --workdir=runs/dense
    gpnas train --config=slim --config.train.init_from=runs/dense --workdir=runs/slim
    gpnas export --workdir=runs/slim

`--config.method.curve='((0.0, 1.0), (0.6, 0.1))'` keeps a tenth. The Python equivalent is
`gpnas.slim`.
"""

from ml_collections import ConfigDict, config_dict

from gpnas.train import base


def get_config() -> ConfigDict:
    """Units of all layers compete by their effect on the loss per MAC."""
    config = base(
        name="development_cost",
        curve=((0.0, 1.0), (0.6, 0.25)),  # (fraction of the run, active fraction of the cost)
        cost="macs",  # or params, flops
        every="auto",
        window="auto",
    )
    config.train.init_from = config_dict.placeholder(str)  # needed
    config.optimizer.learning_rate = 0.02
    return config
