"""Binary gates with the ARM gradient: unbiased, from two forward passes and no backward one.

A gate is z = 1[u < π], π = sigmoid(k·φ). With k large it is shut or open by the sign of φ and does
not learn; with k small it is drawn anew for each batch.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from gpnas.gates._gate import Forward, GateContext, Gates, IsActive, Leaves
from gpnas.gates.concrete import per_path
from gpnas.gates.groups import (
    Grouping,
    axes_of,
    inputs_and_filters,
    multiply,
    sizes,
    spread,
    squares,
)
from gpnas.masks import masked_leaves, schedule, tree

ACTIVE, INACTIVE = 3 / 7, -40 / 7  # first φ of units that are in use, and of those that are not
ARM_STEP_COST = 4 / 3  # passes of a step: one more forward
GROWN = 0.0  # φ of one that is to wake: open half of the time


def bernoulli(
    penalties: Sequence[float],
    sharpness: schedule.Schedule,
    images: int,
    *,
    decay: float = 0.0,
    first: int | None = None,
    grouping: Grouping = inputs_and_filters,
    learn: Callable[[jax.Array], jax.Array] = schedule.always,
) -> Gates:
    """Gates that open and close groups of weights: φ of each group.

    The loss is the mean cross-entropy with gates drawn for this batch, plus
    `1/images · Σ(λ · |group| · π + ½ · decay · sg(π) · ‖w‖²)`. The gradient of the first part by φ
    is `k · [f(1[u > 1 − π]) − f(1[u < π])] · (u − ½)`, one u a group.

    Args:
      penalties: λ, of one weight: one for all layers or one a layer.
      sharpness: k at a step.
      images: How many there are to train on.
      decay: Of the weights that are in use.
      first: Groups of each layer in use at the start; all if None.
      grouping: Which weights share a gate.
      learn: `step → () bool`, whether gates may change.

    References:
      Yin & Zhou 2019 (arXiv:1807.11143) for ARM; Li & Ji 2019, L0-ARM (arXiv:1904.04432), and
      2021, NPN (arXiv:1908.08118), for gates.
    """

    def init_fn(masks: Any, params: Any, key: jax.Array) -> dict[str, jax.Array]:
        del key
        weights = masked_leaves(masks, params)
        axes = axes_of(grouping, weights)
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
            return multiply(params, spread(factors, axes, weights))

        loss, out = forward.loss(gated({p: u < use[p] for p, u in uniform.items()}))
        mirrored = gated({p: u > 1 - use[p] for p, u in uniform.items()})
        other = jax.lax.cond(  # gates that do not learn have no use for the second pass
            learn(ctx.step),
            lambda opposite, _: forward.loss(opposite)[0],
            lambda _, same: same,
            *jax.lax.stop_gradient((mirrored, loss)),
        )
        gap = jax.lax.stop_gradient(k * (other - loss))
        through = sum(jnp.sum(gap * (u - 0.5) * gates[p]) for p, u in uniform.items())
        price, many = per_path(penalties, list(weights)), sizes(weights, axes)
        norms = squares(weights, axes)
        total = sum(
            jnp.sum(price[p] * many[p] * pi + 0.5 * decay * jax.lax.stop_gradient(pi) * norms[p])
            for p, pi in use.items()
        )
        return loss + (through - jax.lax.stop_gradient(through)) + total / images, out

    def network(params: Any, gates: dict[str, jax.Array], masks: Any, step: jax.Array) -> Any:
        weights, k = masked_leaves(masks, params), sharpness(step)
        use = {p: jax.nn.sigmoid(k * g) for p, g in gates.items()}
        fixed = {p: jnp.where(pi >= 0.5, pi, 0.0) for p, pi in use.items()}
        return multiply(params, spread(fixed, grouping(weights), weights))

    return Gates(init_fn, loss_fn, network, masked=False, learn=learn)


def nonzero_at_test(grouping: Grouping = inputs_and_filters) -> IsActive:
    """Which weights have a gate with π ≥ ½, for `follow`."""

    def living(weights: Leaves, gates: dict[str, jax.Array]) -> dict[str, jax.Array]:
        return spread({p: g >= 0 for p, g in gates.items()}, grouping(weights), weights)

    return living
