"""Development and GraNet on the network that CHTs and CHTss are compared on."""

from experiments.studies.coupling import sections_at_one_density
from experiments.studies.coupling_wide.config import get_config
from experiments.studies.study import Study, epochs, sweep

STUDY = Study(get_config, sweep, sections_at_one_density, "coupling.md", shorten=epochs(1))
