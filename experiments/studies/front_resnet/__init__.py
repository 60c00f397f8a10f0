"""A front of a residual network."""

from experiments.studies.front import sections_of_errors, shorten
from experiments.studies.front.run import run
from experiments.studies.front_resnet.config import get_config
from experiments.studies.study import Study

STUDY = Study(get_config, run, sections_of_errors, "front.md", shorten=shorten)
