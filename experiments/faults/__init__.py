"""Faults: what may happen to a run, done to small ones on purpose.

`FAULTS` has a function for each name; `experiments/chaos.py` runs them, and tests their scenarios.
"""

from experiments.faults.fault import Fault, Options
from experiments.faults.table import FAULTS

__all__ = ["FAULTS", "Fault", "Options"]
