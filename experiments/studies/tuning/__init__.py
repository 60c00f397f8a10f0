"""Tuning of the defaults of GMP, RigL, the pipeline and development."""

from experiments.studies.study import Study, sweep
from experiments.studies.tuning.config import get_config

STUDY = Study(get_config, sweep)
