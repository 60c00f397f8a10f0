"""Sensitivity: how much the outputs depend on a weight or on a neuron, and what to do about it."""

from gpnas.sensitivity import curvature, entropy, neurons, weights
from gpnas.sensitivity.shrink import shrink

__all__ = ["curvature", "entropy", "neurons", "shrink", "weights"]
