"""Development and its nearest baselines, in longer runs."""

import functools

from experiments.studies.coupling import sections
from experiments.studies.coupling_long.config import get_config
from experiments.studies.study import Study, epochs, sweep

STUDY = Study(
    get_config,
    sweep,
    functools.partial(sections, 15.0),
    "coupling.md",
    shorten=epochs(1),
)
