"""Sensitivity of the outputs or the loss to weights and neurons, and decay of insensitive weights.

Namespaces: `neurons` and `weights` (sensitivities, for `shrink`), `entropy` (states of neurons).
"""

from gpnas.sensitivity import entropy, neurons, weights
from gpnas.sensitivity._shrink import Sensitivity, ShrinkState, shrink

__all__ = ["Sensitivity", "ShrinkState", "entropy", "neurons", "shrink", "weights"]
