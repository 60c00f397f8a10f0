"""Weight sharing and DARTS against random search and ASHA: a small NAS-Bench-201, Fashion-MNIST.

All searches cost the same number of steps, including evaluation (a forward pass is a third of a
step). The network that each finds is trained from scratch. About half an hour on two cores.

    python experiments/reproduce.py sharing
"""

from ml_collections import ConfigDict

from gpnas.train import base


def get_config() -> ConfigDict:
    """Returns the search settings and budgets."""
    config = ConfigDict()
    config.study = "sharing"
    config.methods = ("random", "weight sharing", "ASHA", "DARTS", "best on CIFAR-10")
    config.architectures = 40  # a random sample, trained alone; random search uses the first
    config.steps = 400  # for each of them
    config.final_steps = 800  # for the network found by a search
    config.budget = 3360  # steps of each search: eight networks trained and evaluated
    config.seeds = 3  # of each search
    config.candidates = 200  # evaluated with shared weights on the first minibatches
    config.minibatches = 10  # of validation images
    config.finalists = 5  # evaluated on all validation images
    config.reduction = 4  # of ASHA; its budgets are steps / 16, steps / 4, steps
    config.channels = 4  # of the first stage
    config.cells = 1  # per stage
    config.batch = 50  # images, in training and evaluation: norms use the batch's statistics
    config.learning_rate = 0.1
    config.seed = 0  # of the sample and the order of the validation images
    config.data = base().data
    config.data.image_size = 14
    config.data.validation = 0.05
    return config
