"""Tuning for docs/coupling.md: the weight decay of longer runs on MNIST."""

from experiments.studies.coupling_mnist_long_tuning.config import get_config
from experiments.studies.coupling_tuning import tuning

STUDY = tuning(get_config, "1 and 0.5 % on MNIST, 50 epochs")
