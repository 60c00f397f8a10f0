"""Sensitivity of the outputs or the loss to weights and neurons, and decay of insensitive weights.

Namespaces: `neurons` and `weights` (sensitivities, for `shrink`).
"""

from gpnas.sensitivity import neurons, weights
from gpnas.sensitivity._shrink import Sensitivity, ShrinkState, shrink

__all__ = [
    "Sensitivity", "ShrinkState", "neurons", "shrink", "weights",
]  # fmt: skip
