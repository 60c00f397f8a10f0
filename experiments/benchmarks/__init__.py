"""Benchmarks: performance measurements relative to a reference, with targets.

`MEASUREMENTS` maps names to functions; `experiments/benchmark.py` runs them.
"""

from .measure import Measurement, Missing, Options
from .table import MEASUREMENTS

__all__ = ["MEASUREMENTS", "Measurement", "Missing", "Options"]
