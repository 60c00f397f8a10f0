"""Weight sharing and DARTS beside random search and ASHA, on a small NAS-Bench-201, Fashion-MNIST.

All searches cost the same steps on minibatches, evaluation included (a forward pass is a third of
a step); what each finds is trained anew. About half an hour on two cores.

    python experiments/reproduce.py sharing
"""

from ml_collections import ConfigDict

from gpnas.train import base


def get_config() -> ConfigDict:
    """What to search, and for how long."""
    config = ConfigDict()
    config.study = "sharing"
    config.methods = ("random", "weight sharing", "ASHA", "DARTS", "best on CIFAR-10")
    config.architectures = 40  # a random sample, each trained alone; the first are random search's
    config.steps = 400  # of each of them
    config.final_steps = 800  # of what a search has found
    config.budget = 3360  # steps of each search: eight networks trained and evaluated
    config.seeds = 3  # of each search
    config.candidates = 200  # by shared weights, on the first minibatches
    config.minibatches = 10  # of validation images
    config.finalists = 5  # on all validation images
    config.reduction = 4  # of ASHA; its budgets are steps / 16, steps / 4, steps
    config.channels = 4  # of the first stage
    config.cells = 1  # a stage
    config.batch = 50  # images, in training and evaluation: norms use the batch's statistics
    config.learning_rate = 0.1
    config.seed = 0  # of the sample and the order of the validation images
    config.data = base().data
    config.data.image_size = 14
    config.data.validation = 0.05
    return config
