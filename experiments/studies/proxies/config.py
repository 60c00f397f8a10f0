"""Zero-cost proxies on NAS-Bench-201: rank correlations with trained accuracy.

    python experiments/reproduce.py proxies

The committed records are of CIFAR-10 as JPEG images (`folder:cifar10_jpeg`).
"""

from ml_collections import ConfigDict

from gpnas.train import base


def get_config() -> ConfigDict:
    """Returns what to score, and on which data."""
    config = ConfigDict()
    config.study = "proxies"
    config.proxies = ("synflow", "nwot", "grad_norm", "snip", "jacov")
    config.architectures = 300  # a random sample of the 15,625
    config.channels = 16  # of the first stage
    config.cells = 1  # per stage; the networks of the table have 5
    config.batch = 64  # training images, the same for all
    config.seed = 0  # of the sample, the images and the weights
    config.against = "cifar10_test_200"  # metric of the table, an error
    config.data = base().data
    config.data.name = "cifar10"
    return config
