"""Development and its nearest baselines on MNIST, at five densities."""

import functools

from experiments.studies.coupling import sections
from experiments.studies.coupling_mnist.config import get_config
from experiments.studies.study import Study, epochs, sweep

STUDY = Study(
    get_config,
    sweep,
    functools.partial(sections, 10.0),
    "coupling.md",
    shorten=epochs(1),
)
