"""Development and its nearest baselines on a residual network."""

from experiments.studies.coupling import sections_at_one_density
from experiments.studies.coupling_resnet.config import get_config
from experiments.studies.study import Study, epochs, sweep

STUDY = Study(
    get_config,
    sweep,
    sections_at_one_density,
    "coupling.md",
    shorten=epochs(1),
    data="cifar10_jpeg",
)
