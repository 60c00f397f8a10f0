"""Early stopping on NAS-Bench-201: few epochs for many networks, all epochs for the best."""

from ml_collections import ConfigDict

from experiments.studies.early_stopping.config import get_config
from experiments.studies.early_stopping.run import early_stopping
from experiments.studies.searches import search_sections
from experiments.studies.study import Options, Study


def _run(config: ConfigDict, options: Options) -> None:
    early_stopping(config, options.results)


STUDY = Study(get_config, _run, search_sections("random", "ASHA"), "nas.md")
