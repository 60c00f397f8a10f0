"""Tuning for the confirmation of docs/coupling.md on MNIST."""

import functools

from experiments.studies.coupling_tuning_confirmation import sections
from experiments.studies.coupling_tuning_mnist.config import get_config
from experiments.studies.study import Study, sweep

STUDY = Study(get_config, sweep, functools.partial(sections, "MNIST"), "coupling.md")
