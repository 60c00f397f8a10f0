"""A search that trains: LEMONADE (Elsken et al. 2019) on Fashion-MNIST, 14 × 14 pixels.

Networks that grow and shrink; children begin with their parents' weights. A reduced budget: 2,400
training steps in all (the paper: 56 days of a GPU), about five minutes on 2 CPU cores, most of them
compiling.

    gpnas search --config=searches/lemonade --workdir=runs/lemonade
"""

from ml_collections import ConfigDict

from gpnas.train import base


def get_config() -> ConfigDict:
    """What to search, and how."""
    config = ConfigDict()
    config.space = "morphable"  # or cell_201, macro, darts, or module:function of your own
    config.network = ConfigDict({"widths": (4, 6, 8), "pools": 2}, type_safe=False)  # its fields
    config.data = base().data
    config.data.image_size = 14
    config.training = ConfigDict()
    config.training.steps = 150  # of a network that begins afresh
    config.training.child_steps = 50  # of one that begins with its parent's weights
    config.training.distil_steps = 15  # before them, if it does not compute what its parent does
    config.training.inherit = True  # whether children begin with their parents' weights
    config.training.replicas = 1  # networks of each candidate, trained together
    config.training.batch_size = 64
    config.training.learning_rate = 0.05  # falls to zero by a cosine
    config.training.momentum = 0.9
    config.training.weight_decay = 5e-4
    config.task = ConfigDict({"name": "classification"}, type_safe=False)  # and its fields
    config.objectives = ("val_error", "log_params")  # or macs, params, latency_ms
    config.reports = ()  # test_error, steps, …: reported for what was found, not searched by
    config.strategy = ConfigDict({"name": "lemonade", "first": 6}, type_safe=False)
    config.evaluations = 1000  # different architectures, at most
    config.steps = 2400  # of training in all, those of distillation included; 0: any number
    config.together = 1  # candidates at a time; those of one shape train as one program
    config.failures = 20  # in a row, after which the search ends
    config.seed = 0
    return config
