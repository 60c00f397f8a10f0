"""CHTss: sparse training by network science, for dense layers in a chain."""

from typing import Any

import jax
import jax.numpy as jnp

from gpnas.masks import (
    MaskContext,
    MaskTransform,
    allocate,
    between,
    cond_inplace,
    masked_leaves,
    plasticity,
    schedule,
    score,
    select,
    tree,
    update_leaves,
)
from gpnas.masks import every as every_
from gpnas.methods import Forecast, Method, step_at

Leaves = dict[str, jax.Array]
_TINY = 1e-9


def chtss(
    *,
    density: float,
    total_steps: int,
    first: float = 0.5,
    fraction: float = 0.3,
    steepness: float = 6.0,
    every: int,
    stop_at: float = 0.75,
    allocation: allocate.Allocation = allocate.erk(),
) -> Method:
    """Combines soft-sampled removal, topological regrowth, and a sigmoid decay of the density.

    Args:
      density: Final density.
      total_steps: Length of the run.
      first: Initial density, with random masks.
      fraction: ζ, exchanged fraction of the active weights.
      steepness: k of the sigmoid.
      every: Steps between mask updates.
      stop_at: Last mask update, as a fraction of the run.
      allocation: Splits the density over leaves, without competition between them.

    References:
      Zhang et al. 2025 (arXiv:2501.19107), section 3.
    """
    stop = step_at(stop_at, total_steps, every)

    def curve(step: jax.Array) -> jax.Array:
        low, high = jax.nn.sigmoid(-steepness), jax.nn.sigmoid(steepness)
        part = jax.nn.sigmoid(steepness * (2 * jnp.minimum(step / stop, 1.0) - 1))
        return first + (density - first) * (part - low) / (high - low)

    seed = plasticity(
        drop=score.magnitude(), grow=score.random(), density=curve, allocation=allocation
    )

    def init_fn(masks: Any, params: Any, key: jax.Array) -> tuple[Any, tuple[()]]:
        return seed.init(masks, params, key)[0], ()

    def update_fn(masks: Any, state: tuple[()], ctx: MaskContext) -> tuple[Any, tuple[()]]:
        active, own = masked_leaves(masks), ctx.of_masked(masks)
        targets = allocation({p: m.shape for p, m in active.items()}, curve(ctx.step))
        heat = 1 + 2 * ctx.step / total_steps
        after = cond_inplace(
            ctx.may_update,
            lambda active: rewire(active, own, targets, fraction, heat),
            active,
        )
        return update_leaves(masks, after), state

    transform = MaskTransform(init_fn, update_fn)
    return Method(
        every_(between(transform, 1, stop + 1), every),
        Forecast(schedule.at_mask_updates(curve, every)),
    )


def rewire(
    active: Leaves, ctx: MaskContext, targets: Any, fraction: float, heat: jax.Array
) -> Leaves:
    """Applies one mask update.

    Args:
      active: Masks of the layers, inputs × outputs, by path in the order of the network.
      ctx: Params by path, and the key.
      targets: `{(path,): () int32}`, active weights after the update.
      fraction: ζ, removed fraction of the weights that the decay leaves.
      heat: T, exponent of |w| in the removal; 1 at the first step, 3 at the last.
    """
    keys = tree.keys_for(ctx.key, active)
    kept = {}
    for path, mask in active.items():
        decay, removal = jax.random.split(keys[path])
        size = jnp.abs(ctx.params[path])
        importance = _relative_importance(jnp.where(mask, size, 0.0))
        left = jnp.minimum(targets[(path,)], jnp.sum(mask, dtype=jnp.int32))
        mask = select.exact_top_k(importance, left, decay, mask)
        stay = jnp.round((1 - fraction) * left).astype(jnp.int32)
        kept[path] = _sample(size**heat, stay, removal, mask)
    after = {}
    for path, mask in percolate(kept).items():
        missing = targets[(path,)] - jnp.sum(mask, dtype=jnp.int32)
        key = jax.random.fold_in(keys[path], 1)
        after[path] = mask | _sample(ch2_l3n(mask), missing, key, ~mask)
    return after


def percolate(active: Leaves) -> Leaves:
    """Removes links of hidden neurons without inputs or without outputs until none is left.

    Args:
      active: Masks of the layers, inputs × outputs, in the order of the network.
    """
    paths = list(active)
    for _ in paths:
        for path, after in zip(paths, paths[1:], strict=False):
            alive = jnp.any(active[path], 0) & jnp.any(active[after], 1)
            active = active | {
                path: active[path] & alive,
                after: active[after] & alive[:, None],
            }
    return active


def ch2_l3n(mask: jax.Array) -> jax.Array:
    """Returns CH2-L3n, the topological likelihood of each absent link of a bipartite network.

    Args:
      mask: (inputs, outputs) bool.

    Returns:
      (inputs, outputs) float32: the sum over paths of three links of the likelihoods of their two
      neurons on the same side.
    """
    links = mask.astype(jnp.float32)

    def likelihood(links: jax.Array) -> jax.Array:
        common = links @ links.T
        external = jnp.maximum(jnp.sum(links, 1)[:, None] - common, 1)
        return jnp.where(common > 0, (common + 1) / external, 0.0)

    return likelihood(links) @ links + links @ likelihood(links.T).T


def _relative_importance(size: jax.Array) -> jax.Array:
    def share(axis: int) -> jax.Array:
        return size / jnp.maximum(jnp.sum(size, axis, keepdims=True), _TINY)

    return share(0) + share(1)


def _sample(weight: jax.Array, k: jax.Array, key: jax.Array, where: jax.Array) -> jax.Array:
    """Draws k elements ∝ weight without replacement, by Gumbel noise."""
    draw, ties = jax.random.split(key)
    noise = jax.random.gumbel(draw, weight.shape)
    return select.exact_top_k(jnp.log(weight + _TINY) + noise, k, ties, where)
