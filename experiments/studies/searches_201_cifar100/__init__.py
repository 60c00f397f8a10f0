"""Strategies on NAS-Bench-201, selected by the validation error on CIFAR-100 after 12 epochs.

python experiments/reproduce.py searches_201_cifar100
"""

import functools

from experiments.studies.searches import compare_study
from experiments.studies.searches_201.config import get_config

STUDY = compare_study(functools.partial(get_config, "cifar100"), "random", "local search")
