"""Development and its nearest baselines on MNIST, in longer runs."""

import functools

from experiments.studies.coupling import sections
from experiments.studies.coupling_mnist_long.config import get_config
from experiments.studies.study import Study, epochs, sweep

STUDY = Study(
    get_config,
    sweep,
    functools.partial(sections, 6.0),
    "coupling.md",
    shorten=epochs(1),
)
