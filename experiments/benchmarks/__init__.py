"""Benchmarks: what must be fast, measured against what it is compared with, and its target.

`MEASUREMENTS` has a function for each name; `experiments/benchmark.py` runs them.
"""

from .measure import Measurement, Missing, Options
from .table import MEASUREMENTS

__all__ = ["MEASUREMENTS", "Measurement", "Missing", "Options"]
