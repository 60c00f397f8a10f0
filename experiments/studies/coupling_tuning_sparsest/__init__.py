"""Tuning for docs/coupling.md at its lowest densities."""

from experiments.studies.coupling_tuning import tuning
from experiments.studies.coupling_tuning_sparsest.config import get_config

STUDY = tuning(get_config, "0.5 and 0.2 %")
