"""Strategies on NAS-Bench-201, selected by validation after 12 epochs."""

from experiments.studies.searches import compare_study
from experiments.studies.searches_201.config import get_config

STUDY = compare_study(get_config, "random", "local search")
