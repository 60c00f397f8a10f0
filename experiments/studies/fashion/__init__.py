"""The README's table: eight arms on Fashion-MNIST, LeNet-300-100, 2 % of the weights."""

from experiments.studies.fashion.config import get_config
from experiments.studies.study import Study, sweep

STUDY = Study(get_config, sweep)
