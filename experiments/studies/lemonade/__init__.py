"""LEMONADE on Fashion-MNIST against its components, predecessors and successors."""

from experiments.studies.lemonade.config import get_config
from experiments.studies.searches import compare_study

STUDY = compare_study(get_config, "LEMONADE")
