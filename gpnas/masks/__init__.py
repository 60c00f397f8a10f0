"""Mask transforms: pure functions that decide which parameters are active.

The package imports no other package of gpnas.

    >>> import jax, jax.numpy as jnp
    >>> from gpnas import masks as gm
    >>> params = {"kernel": jnp.ones((20, 10)), "bias": jnp.zeros(10)}
    >>> rigl = gm.plasticity(
    ...     drop=gm.score.magnitude(),
    ...     grow=gm.score.gradient(),
    ...     density=gm.schedule.constant(0.1),
    ... )
    >>> masks, state = rigl.init(gm.init_masks(params), params, jax.random.key(0))
    >>> int(masks["kernel"].sum())
    20

`sparsify(tx, transform, key)` carries the masks in an optax transformation.

Namespaces: `allocate` (densities per leaf), `axes` (inputs and outputs of a leaf), `budget`
(numbers of weights to grow and prune), `finite` (steps with NaN gradients), `schedule`, `score`,
`select` (which weights), `summary` (densities and counts of masks), `tree` (paths and leaves of
pytrees).
"""

from gpnas.masks import allocate, axes, budget, finite, schedule, score, select, summary, tree
from gpnas.masks._leaves import (
    apply,
    decay_mask,
    init_masks,
    is_weight,
    masked_leaves,
    update_leaves,
)
from gpnas.masks._plasticity import PlasticityState, plasticity
from gpnas.masks._ranking import RankingState, ranking
from gpnas.masks._sparsify import SparsifyState, density_of, masks_of, sparse_params, sparsify
from gpnas.masks._transform import (
    MaskContext,
    MaskTransform,
    between,
    chain,
    cond_inplace,
    every,
    identity,
    masked,
    stateful_identity,
    switch,
    when,
)
from gpnas.masks._transition import (
    GrowInit,
    grow_at_fan_in,
    grow_at_zero,
    reinit_grown,
    reset_moments,
    transition,
)
from gpnas.masks._unstacked import unstacked
from gpnas.masks.axes import Axes, AxesTable

__all__ = [
    "Axes", "AxesTable", "GrowInit", "MaskContext", "MaskTransform", "PlasticityState",
    "RankingState", "SparsifyState", "allocate", "apply", "axes", "between", "budget", "chain",
    "cond_inplace", "decay_mask", "density_of", "every", "finite", "grow_at_fan_in",
    "grow_at_zero", "identity", "init_masks", "is_weight", "masked", "masked_leaves",
    "masks_of", "plasticity", "ranking", "reinit_grown", "reset_moments", "schedule", "score",
    "select", "sparse_params", "sparsify", "stateful_identity", "summary", "switch",
    "transition", "tree", "unstacked", "update_leaves", "when",
]  # fmt: skip
