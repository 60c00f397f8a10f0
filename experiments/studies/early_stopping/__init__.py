"""Early stopping on NAS-Bench-201: few epochs for many networks, all epochs for the best."""

from experiments.studies.early_stopping.config import get_config
from experiments.studies.early_stopping.run import early_stopping
from experiments.studies.searches import search_sections
from experiments.studies.study import Study, to_results

STUDY = Study(get_config, to_results(early_stopping), search_sections("random", "ASHA"), "nas.md")
