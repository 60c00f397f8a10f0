"""Development and GraNet on the network that CHTs and CHTss are compared on."""

import functools

from experiments.studies.coupling import sections
from experiments.studies.coupling_wide.config import get_config
from experiments.studies.study import Study, epochs, sweep

STUDY = Study(
    get_config,
    sweep,
    functools.partial(sections, "coupling_wide", 12.0),
    "coupling.md",
    shorten=epochs(1),
)
