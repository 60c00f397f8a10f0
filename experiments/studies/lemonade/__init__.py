"""LEMONADE on Fashion-MNIST beside what it is made of and what came before and after it."""

from experiments.studies.lemonade.config import get_config
from experiments.studies.searches import compare_study

STUDY = compare_study(get_config, "LEMONADE")
