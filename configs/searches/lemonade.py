"""A search with training: LEMONADE (Elsken et al. 2019) on Fashion-MNIST, 14 × 14 pixels.

Networks grow and shrink; children inherit their parents' weights. Reduced budget: 2,400 training
steps in total (paper: 56 GPU days), about five minutes on 2 CPU cores, mostly compilation.

    gpnas search --config=searches/lemonade --workdir=runs/lemonade
"""

from ml_collections import ConfigDict

from gpnas.train import base


def get_config() -> ConfigDict:
    """What to search, and how."""
    config = ConfigDict()
    config.space = "morphable"  # or cell_201, macro, darts, or your own module:function
    config.network = ConfigDict({"widths": (4, 6, 8), "pools": 2}, type_safe=False)  # its fields
    config.data = base().data
    config.data.image_size = 14
    config.training = ConfigDict()
    config.training.steps = 150  # of a network trained from scratch
    config.training.child_steps = 50  # of a network with inherited weights
    config.training.distil_steps = 15  # before them, if its function differs
    config.training.inherit = True  # whether children inherit weights
    config.training.replicas = 1  # networks per candidate, trained together
    config.training.batch_size = 64
    config.training.learning_rate = 0.05  # cosine decay to zero
    config.training.momentum = 0.9
    config.training.weight_decay = 5e-4
    config.task = ConfigDict({"name": "classification"}, type_safe=False)  # and its fields
    config.objectives = ("val_error", "log_params")  # or macs, params, latency_ms
    config.reports = ()  # test_error, steps, …: reported, not used by the search
    config.strategy = ConfigDict({"name": "lemonade", "first": 6}, type_safe=False)
    config.evaluations = 1000  # maximum number of distinct architectures
    config.steps = 2400  # total training steps, including distillation; 0: unlimited
    config.together = 1  # candidates at a time; equal shapes train as one program
    config.failures = 20  # consecutive failures that end the search
    config.seed = 0
    return config
