"""A front on whole images of Fashion-MNIST."""

from experiments.studies.front import sections_of_errors, shorten
from experiments.studies.front.run import run
from experiments.studies.front_28.config import get_config
from experiments.studies.study import Study

STUDY = Study(get_config, run, sections_of_errors, "front.md", shorten=shorten)
