"""Development and its nearest baselines on LeNet-5."""

import functools

from experiments.studies.coupling import sections
from experiments.studies.coupling_lenet5.config import get_config
from experiments.studies.study import Study, epochs, sweep

STUDY = Study(
    get_config,
    sweep,
    functools.partial(sections, "coupling_lenet5", 14.0),
    "coupling.md",
    shorten=epochs(1),
)
