"""GradMax's student and teacher: do neurons initialised by singular vectors learn faster?

    python experiments/reproduce.py gradmax

A teacher of 10 inputs, 10 hidden neurons and 10 outputs; a student that starts with 5 neurons and
adds one every 200 steps. Expected mean loss after the first growth (Evci et al. 2022): 0.460 for
GradMax, 0.510 for random. Takes two minutes, mostly compilation.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """Returns the settings of teacher and students."""
    config = ConfigDict()
    config.study = "gradmax"
    config.arms = ("GradMax", "random", "GradMax, outgoing zero", "random, outgoing zero", "small",
                   "whole")  # fmt: skip
    config.seeds = 20  # each with its own teacher, samples and initial weights
    config.inputs = 10
    config.width = 10  # hidden neurons of the teacher and of the final student
    config.outputs = 10
    config.start = 5  # hidden neurons of the student
    config.samples = 1000  # normal; all of them in each step
    config.learning_rate = 0.1  # plain gradient descent on the mean squared error
    config.interval = 200  # steps before each growth
    config.last = 500  # steps after the last one
    config.every = 10  # steps between recorded losses
    return config
