"""Development and its nearest baselines on a residual network."""

from experiments.studies.coupling import only_tables
from experiments.studies.coupling_resnet.config import get_config
from experiments.studies.study import Study, epochs, sweep

STUDY = Study(
    get_config,
    sweep,
    only_tables,
    "coupling.md",
    shorten=epochs(1),
    data="cifar10_jpeg",
)
