"""Sensitivity of the outputs or the loss to weights and neurons, and decay of insensitive weights.

Namespaces: `curvature` (top Hessian eigenvalue), `entropy` (states of neurons), `neurons` and
`weights` (sensitivities, for `shrink`).
"""

from gpnas.sensitivity import curvature, entropy, neurons, weights
from gpnas.sensitivity._shrink import Sensitivity, ShrinkState, shrink

__all__ = [
    "Sensitivity", "ShrinkState", "curvature", "entropy", "neurons", "shrink", "weights",
]  # fmt: skip
