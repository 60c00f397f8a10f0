"""Binary gates with the ARM gradient, an unbiased estimate from two forward passes.

A gate is z = 1[u < π], π = sigmoid(k·φ), drawn for each batch. For large k it is 0 or 1 depending
on the sign of φ, with zero gradient.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from gpnas.gates import groups
from gpnas.gates._gate import Forward, GateContext, Gates, IsActive, Leaves
from gpnas.gates.concrete import per_path
from gpnas.masks import masked_leaves, schedule, tree

ACTIVE, INACTIVE = 3 / 7, -40 / 7  # initial φ of active and of inactive units
ARM_STEP_COST = 4 / 3  # relative cost of a step: one more forward pass
GROWN = 0.0  # φ of a grown unit: open with probability ½


def bernoulli(
    penalties: Sequence[float],
    sharpness: schedule.Schedule,
    images: int,
    *,
    decay: float = 0.0,
    first: int | None = None,
    grouping: groups.Grouping = groups.inputs_and_filters,
    learn: Callable[[jax.Array], jax.Array] = schedule.always,
) -> Gates:
    """Makes binary gates on groups of weights, with a parameter φ per group.

    The loss is that of the task with gates drawn for the batch, plus `1/images · Σ(λ ·
    |group| · π + ½ · decay · sg(π) · ‖w‖²)`. The gradient of the first part with respect to φ is `k
    · [f(1[u > 1 − π]) − f(1[u < π])] · (u − ½)`, one u per group.

    Args:
      penalties: λ per weight, 0 or more: one for all, or one per layer in natural order of paths.
      sharpness: k at a step.
      images: Number of training examples.
      decay: Weight decay of weights with an open gate.
      first: Number of initially active groups per layer; all if None.
      grouping: Which weights share a gate.
      learn: `step → () bool`, whether gates are trained.

    Raises:
      ValueError: (on use) If `grouping` names a layer that does not exist, or the number of
        penalties does not match.

    References:
      Yin & Zhou 2019 (arXiv:1807.11143) for ARM; Li & Ji 2019, L0-ARM (arXiv:1904.04432), and
      2021, NPN (arXiv:1908.08118), for gates.
    """

    def init_fn(masks: Any, params: Any, key: jax.Array) -> dict[str, jax.Array]:
        del key
        weights = masked_leaves(masks, params)
        axes = groups.axes_of(grouping, weights)
        counts = {p: weights[p].shape[axis] for p, axis in axes.items()}
        active = {p: jnp.arange(n) < (n if first is None else first) for p, n in counts.items()}
        return {p: jnp.where(a, jnp.float32(ACTIVE), INACTIVE) for p, a in active.items()}

    def loss_fn(
        forward: Forward, params: Any, gates: dict[str, jax.Array], ctx: GateContext
    ) -> tuple[jax.Array, Any]:
        weights = masked_leaves(ctx.masks, params)
        axes, keys, k = grouping(weights), tree.keys_for(ctx.key, weights), sharpness(ctx.step)
        uniform = {p: jax.random.uniform(keys[p], g.shape) for p, g in gates.items()}
        use = {p: jax.nn.sigmoid(k * g) for p, g in gates.items()}

        def gated(drawn: Leaves) -> Any:
            factors = {p: d.astype(jnp.float32) for p, d in drawn.items()}
            return groups.multiply(params, groups.spread(factors, axes, weights))

        loss, out = forward.loss(gated({p: u < use[p] for p, u in uniform.items()}))
        mirrored = gated({p: u > 1 - use[p] for p, u in uniform.items()})
        through = _arm_term(forward, gates, uniform, k, loss, mirrored, learn(ctx.step))
        price, sizes = per_path(penalties, list(weights)), groups.group_sizes(weights, axes)
        norms = groups.squares(weights, axes)
        total = sum(
            jnp.sum(price[p] * sizes[p] * pi + 0.5 * decay * jax.lax.stop_gradient(pi) * norms[p])
            for p, pi in use.items()
        )
        return loss + (through - jax.lax.stop_gradient(through)) + total / images, out

    def network(params: Any, gates: dict[str, jax.Array], masks: Any, step: jax.Array) -> Any:
        weights, k = masked_leaves(masks, params), sharpness(step)
        use = {p: jax.nn.sigmoid(k * g) for p, g in gates.items()}
        fixed = {p: jnp.where(pi >= 0.5, pi, 0.0) for p, pi in use.items()}
        return groups.multiply(params, groups.spread(fixed, grouping(weights), weights))

    return Gates(init_fn, loss_fn, network, masked=False, learn=learn)


def _arm_term(
    forward: Forward,
    gates: Leaves,
    uniform: Leaves,
    k: jax.Array,
    loss: jax.Array,
    mirrored: Any,
    learn: jax.Array,
) -> jax.Array:
    """Returns a term whose gradient is ARM's estimate, from the loss with mirrored gates."""
    other = jax.lax.cond(  # fixed gates need no second forward pass
        learn,
        lambda opposite, _: forward.loss(opposite)[0],
        lambda _, same: same,
        *jax.lax.stop_gradient((mirrored, loss)),
    )
    gap = jax.lax.stop_gradient(k * (other - loss))
    return sum((jnp.sum(gap * (u - 0.5) * gates[p]) for p, u in uniform.items()), jnp.float32(0))


def nonzero_at_test(grouping: groups.Grouping = groups.inputs_and_filters) -> IsActive:
    """Marks weights whose gate has π ≥ ½, for `masks_from_gates`."""

    def is_active(weights: Leaves, gates: dict[str, jax.Array]) -> dict[str, jax.Array]:
        return groups.spread({p: g >= 0 for p, g in gates.items()}, grouping(weights), weights)

    return is_active
