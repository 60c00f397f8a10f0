"""Pilots of L0-ARM with penalties by layer on MNIST."""

from experiments.studies.pilots.config import get_config
from experiments.studies.study import Study, sweep

STUDY = Study(get_config, sweep)
