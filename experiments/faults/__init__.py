"""Faults: failures that can happen to a run, injected into small runs.

`FAULTS` maps names to functions; `experiments/chaos.py` runs them, and tests run their scenarios.
"""

from experiments.faults.fault import Fault, Options
from experiments.faults.table import FAULTS

__all__ = ["FAULTS", "Fault", "Options"]
