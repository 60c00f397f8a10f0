"""Development and its nearest baselines on LeNet-5."""

from experiments.studies.coupling import only_tables
from experiments.studies.coupling_lenet5.config import get_config
from experiments.studies.study import Study, epochs, sweep

STUDY = Study(get_config, sweep, only_tables, "coupling.md", shorten=epochs(1))
