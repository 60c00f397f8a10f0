"""Development and GraNet on the network that CHTs and CHTss are compared on."""

import functools

from experiments.studies.coupling import sections_at_one_density
from experiments.studies.coupling_wide.config import get_config
from experiments.studies.study import Study, epochs, sweep

STUDY = Study(
    get_config,
    sweep,
    functools.partial(sections_at_one_density, "coupling_wide"),
    "coupling.md",
    shorten=epochs(1),
)
