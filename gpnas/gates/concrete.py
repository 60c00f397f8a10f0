"""Hard concrete gates: a differentiable surrogate of the number of nonzero groups of weights."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gpnas.gates import groups
from gpnas.gates._gate import Forward, GateContext, Gates, IsActive, Leaves
from gpnas.masks import masked_leaves, tree

BETA, GAMMA, ZETA = 2 / 3, -0.1, 1.1
_EDGE = 1e-6


def sample(log_alpha: jax.Array, uniform: jax.Array) -> jax.Array:
    """Samples gates z in [0, 1] from u in (0, 1), equations 10 and 11; of the arguments' shape."""
    logit = jnp.log(uniform) - jnp.log1p(-uniform)
    return _clip(jax.nn.sigmoid((logit + log_alpha) / BETA))


def probability(log_alpha: jax.Array) -> jax.Array:
    """Returns P(z ≠ 0), equation 12."""
    return jax.nn.sigmoid(log_alpha - BETA * np.log(-GAMMA / ZETA))


def at_test(log_alpha: jax.Array) -> jax.Array:
    """Returns the gates at test time, equation 13."""
    return _clip(jax.nn.sigmoid(log_alpha))


def _clip(s: jax.Array) -> jax.Array:
    return jnp.clip(s * (ZETA - GAMMA) + GAMMA, 0, 1)


def per_path(values: Sequence[float], paths: Sequence[str]) -> dict[str, float]:
    """Maps paths to values: one value for all, or one per path.

    Raises:
      ValueError: If the number of values is neither 1 nor that of the paths.
    """
    values = list(values) * len(paths) if len(values) == 1 else list(values)
    return dict(zip(paths, values, strict=True))


def hard_concrete(
    penalties: Sequence[float],
    images: int,
    *,
    decay: float = 0.0,
    drops: Sequence[float] = (0.5,),
    grouping: groups.Grouping = groups.inputs_and_filters,
) -> Gates:
    """Makes hard concrete gates on groups of weights, with a parameter log α per group.

    The loss is that of the task with groups multiplied by gates drawn for the batch, plus
    `1/images · ΣP(z ≠ 0) · (λ · |group| + ½ · decay · ‖w‖²)`.

    Args:
      penalties: λ per weight, 0 or more: one for all, or one per layer in natural order of paths.
      images: Number of training examples.
      decay: ρ, weight decay of weights with a nonzero gate.
      drops: δ in (0, 1), dropout rate that sets the initial log α: one for all, or one per layer.
      grouping: Which weights share a gate. On use, an unknown layer raises ValueError.

    References:
      Louizos, Welling & Kingma 2018 (arXiv:1712.01312), sections 2.2 and 2.3.
    """

    def init_fn(masks: Any, params: Any, key: jax.Array) -> dict[str, jax.Array]:
        weights = masked_leaves(masks, params)
        axes = groups.axes_of(grouping, weights)
        shut = per_path(drops, list(weights))
        keys = tree.keys_for(key, weights)
        return {
            p: np.log((1 - shut[p]) / shut[p])
            + 0.01 * jax.random.normal(keys[p], (weights[p].shape[axis],))
            for p, axis in axes.items()
        }

    def loss_fn(
        forward: Forward, params: Any, gates: dict[str, jax.Array], ctx: GateContext
    ) -> tuple[jax.Array, Any]:
        weights = masked_leaves(ctx.masks, params)
        axes, keys = grouping(weights), tree.keys_for(ctx.key, weights)
        drawn = {
            p: sample(g, jax.random.uniform(keys[p], g.shape, minval=_EDGE, maxval=1 - _EDGE))
            for p, g in gates.items()
        }
        loss, out = forward.loss(groups.multiply(params, groups.spread(drawn, axes, weights)))
        price, sizes = per_path(penalties, list(weights)), groups.group_sizes(weights, axes)
        norms = groups.squares(weights, axes)
        total = sum(
            jnp.sum(probability(g) * (price[p] * sizes[p] + 0.5 * decay * norms[p]))
            for p, g in gates.items()
        )
        return loss + total / images, out

    def network(params: Any, gates: dict[str, jax.Array], masks: Any, step: jax.Array) -> Any:
        del step
        weights = masked_leaves(masks, params)
        fixed = {p: at_test(g) for p, g in gates.items()}
        return groups.multiply(params, groups.spread(fixed, grouping(weights), weights))

    return Gates(init_fn, loss_fn, network, masked=False)


def nonzero_at_test(grouping: groups.Grouping = groups.inputs_and_filters) -> IsActive:
    """Marks weights with a nonzero gate at test time, for `masks_from_gates`."""

    def is_active(weights: Leaves, gates: dict[str, jax.Array]) -> dict[str, jax.Array]:
        is_open = {p: at_test(g) > 0 for p, g in gates.items()}
        return groups.spread(is_open, grouping(weights), weights)

    return is_active
