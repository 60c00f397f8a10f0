"""Development and GraNet on the network that CHTs and CHTss are compared on."""

from experiments.studies.coupling import only_tables
from experiments.studies.coupling_wide.config import get_config
from experiments.studies.study import Study, epochs, sweep

STUDY = Study(get_config, sweep, only_tables, "coupling.md", shorten=epochs(1))
