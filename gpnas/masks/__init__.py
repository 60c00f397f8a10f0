"""Mask transforms: pure functions that decide which parameters live. Imports nothing of ours.

masks = full(params)
transform = plasticity(
    drop=score.magnitude(), grow=score.gradient(), density=schedule.constant(0.1)
)
masks, state = transform.init(masks, params, key)
"""

from gpnas.masks import allocate, budget, schedule, score, select, summary
from gpnas.masks.axes import Axes, unstacked
from gpnas.masks.finite import skipped
from gpnas.masks.plasticity import PlasticityState, plasticity, survival
from gpnas.masks.ranking import ranking
from gpnas.masks.select import blocks, exact_top_k, n_m, n_of_m
from gpnas.masks.transform import (
    MaskContext,
    MaskTransform,
    between,
    carry,
    chain,
    every,
    identity,
    masked,
    sometimes,
    switch,
    when,
)
from gpnas.masks.transition import at_fan_in, at_zero, reset, rewoken, transition
from gpnas.masks.tree import apply, full, is_weight, maskable, put

__all__ = [
    "Axes", "MaskContext", "MaskTransform", "PlasticityState", "allocate", "apply", "at_fan_in",
    "at_zero", "between", "blocks", "budget", "carry", "chain", "every", "exact_top_k", "full",
    "identity", "is_weight", "maskable", "masked", "n_m", "n_of_m", "plasticity", "put",
    "ranking", "reset", "schedule", "score", "select", "skipped", "sometimes", "summary",
    "survival", "rewoken", "switch", "transition", "unstacked", "when",
]  # fmt: skip
