"""Top-KAST: a sparse forward pass, and a less sparse backward pass."""

from typing import Any

import jax
import optax

from gpnas._settings import Count, Decay, Density, Fraction
from gpnas.masks import MaskContext, allocate, apply, ranking, schedule, score, tree
from gpnas.methods._method import Forecast, Method, all_ones


def topkast(
    *,
    density: Density,
    extra: Fraction = 0.1,
    decay: Decay = 1e-4,
    every: Count,
    allocation: allocate.Allocation = allocate.uniform(),
) -> Method:
    """Computes the forward pass with the largest weights, and trains the next largest as well.

    The forward pass uses set A. The optimizer updates set B, which includes A. Inactive weights
    keep their values.

    Args:
      density: D, density of the forward pass, in (0, 1].
      extra: M, fraction of all weights that is updated in addition; B has density + extra, at most
        1.
      decay: Decay of the exploration regularizer.
      every: Steps between mask updates.
      allocation: Splits the densities over leaves.

    References:
      Jayakumar et al. 2020 (arXiv:2106.03517), section 2.
    """
    forward_curve, backward_curve = (
        schedule.constant(d) for d in (density, min(density + extra, 1.0))
    )
    forward = ranking(score.magnitude(), forward_curve, allocation=allocation, every=every)
    backward = ranking(score.magnitude(), backward_curve, allocation=allocation, every=every)

    def init_fn(masks: Any, params: Any, key: jax.Array) -> tuple[Any, Any]:
        used, forward_state = forward.init(masks, params, key)
        return used, (forward_state, *backward.init(masks, params, key))

    def update_fn(masks: Any, state: Any, ctx: MaskContext) -> tuple[Any, Any]:
        used_state, learning, learning_state = state
        masks, used_state = forward.update(masks, used_state, ctx)
        learning, learning_state = backward.update(learning, learning_state, ctx)
        return masks, (used_state, learning, learning_state)

    return Method(
        forward._replace(init=init_fn, update=update_fn),
        Forecast(
            forward_curve,
            schedule.constant(min(extra / max(1 - density, 1e-6), 1.0)),
            allocation=allocation,
        ),
        update_mask=lambda masks, state: state[1],
        zero_mask=all_ones,
        wrap=lambda tx: optax.chain(exploration(decay, density), tx),
    )


def exploration(decay: float, density: float) -> optax.GradientTransformationExtraArgs:
    """Applies weight decay that is 1/density times stronger on inactive weights (equation 3).

    Args:
      decay: Decay of active weights.
      density: Density of the forward pass, in (0, 1].

    Returns:
      A transformation whose `update` needs `params` and the extra argument `masks`.
    """

    def update_fn(
        updates: Any, state: Any, params: Any, *, masks: Any, **extra_args: Any
    ) -> tuple[Any, Any]:
        del extra_args
        used = apply(masks, params)

        def leaf(g: jax.Array, u: jax.Array, p: jax.Array) -> jax.Array:
            pull = decay * (tree.wide(u) + (tree.wide(p) - tree.wide(u)) / density)
            return (tree.wide(g) + pull).astype(g.dtype)

        return jax.tree.map(leaf, updates, used, params), state

    return optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update_fn)
