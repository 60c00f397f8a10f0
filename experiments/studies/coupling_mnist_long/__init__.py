"""Development and its nearest baselines on MNIST, in longer runs."""

from experiments.studies.coupling import only_tables
from experiments.studies.coupling_mnist_long.config import get_config
from experiments.studies.study import Study, epochs, sweep

STUDY = Study(get_config, sweep, only_tables, "coupling.md", shorten=epochs(1))
