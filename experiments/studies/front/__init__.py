"""A front of networks from one run: what each of its parts does."""

from experiments.studies.front.config import get_config
from experiments.studies.front.run import run
from experiments.studies.study import Study

STUDY = Study(get_config, run)
