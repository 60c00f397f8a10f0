"""SNFS: sparse networks from scratch, by sparse momentum."""

from typing import Any

import jax
import jax.numpy as jnp

from gpnas._settings import Count, Decay, Density, Fraction
from gpnas.masks import (
    MaskContext,
    MaskTransform,
    allocate,
    between,
    finite,
    masked_leaves,
    plasticity,
    schedule,
    score,
    select,
    update_leaves,
)
from gpnas.masks import every as every_
from gpnas.methods._method import Forecast, Method, rate_until

Leaves = dict[str, jax.Array]


def snfs(
    *,
    density: Density,
    total_steps: int,
    fraction: Fraction = 0.5,
    every: Count,
    decay: Decay = 0.9,
    stop_at: Fraction = 1.0,
    allocation: allocate.Allocation = allocate.erk(),
) -> Method:
    """Grows weights by momentum, which also determines the number grown in each leaf.

    Args:
      density: Fraction of active weights, in (0, 1].
      total_steps: Length of the run.
      fraction: p, initial pruned fraction of each leaf's active weights; cosine decay.
      every: Steps between mask updates (one epoch in the paper).
      decay: Decay of the momentum.
      stop_at: End of the exchange, as a fraction of the run.
      allocation: Splits the initial density over leaves.

    References:
      Dettmers & Zettlemoyer 2019 (arXiv:1907.04840), algorithm 1.
    """
    stop = round(stop_at * total_steps)
    curve = schedule.constant(density)
    rate = schedule.cosine(fraction, stop)
    momentum = score.momentum(decay)
    seed = plasticity(
        drop=score.magnitude(), grow=score.random(), density=curve, allocation=allocation
    )

    def init_fn(masks: Any, params: Any, key: jax.Array) -> tuple[Any, Any]:
        masks, _ = seed.init(masks, params, key)
        statistics = score.init_statistics((momentum,), masked_leaves(masks, params))
        return masks, (statistics, finite.no_skips())

    def update_fn(masks: Any, state: Any, ctx: MaskContext) -> tuple[Any, Any]:
        own = ctx.of_masked(masks)
        kept, seen = score.observe_before((momentum,), state[0], own, every, None)

        def at_update(masks: Any) -> Any:
            active = masked_leaves(masks)  # in natural order; JAX sorts the keys of dicts in loops
            sizes = momentum.value(kept, own)
            return update_leaves(
                masks, exchange(active, sizes, rate(own.step), curve(own.step), own)
            )

        masks, skips = finite.cond_finite(
            ctx.may_update, at_update, masks, state[1], own.grads, seen
        )
        return masks, (kept, skips)

    transform = every_(between(MaskTransform(init_fn, update_fn), 1, stop), every)
    return Method(transform, Forecast(curve, rate_until(stop, 1.0), allocation=allocation))


def exchange(
    active: Leaves, momentum: Leaves, fraction: jax.Array, density: jax.Array, ctx: MaskContext
) -> Leaves:
    """Applies one mask update: leaves lose equal fractions and grow by their share of the momentum.

    Args:
      active: Masks by path.
      momentum: `|ḡ|` by path.
      fraction: () float32, pruned fraction of a leaf's active weights.
      density: () float32, total density after the update.
      ctx: Context with params by path, and the key.
    """
    n_active = jnp.array([jnp.sum(m, dtype=jnp.int32) for m in active.values()])
    n_pruned = jnp.round(fraction * n_active.astype(jnp.float32)).astype(jnp.int32)
    share = jnp.array([jnp.nanmean(momentum[p], where=m) for p, m in active.items()])
    sizes = [m.size for m in active.values()]
    total = allocate.part_of(density, sum(sizes)) - jnp.sum(n_active - n_pruned)
    n_grown = apportion(share, jnp.array(sizes) - n_active + n_pruned, total)
    keys = [jax.random.split(jax.random.fold_in(ctx.key, i)) for i in range(len(active))]
    drop_keys, grow_keys = zip(*keys, strict=True)
    drop = [-jnp.abs(ctx.params[path]) for path in active]
    pruned = select.exact_top_k_each(drop, n_pruned, drop_keys, list(active.values()))
    kept = [m & ~p for m, p in zip(active.values(), pruned, strict=True)]
    grow = [momentum[path] for path in active]
    grown = select.exact_top_k_each(grow, n_grown, grow_keys, [~m for m in kept])
    return {p: m | g for p, m, g in zip(active, kept, grown, strict=True)}


def apportion(share: jax.Array, capacity: jax.Array, total: jax.Array) -> jax.Array:
    """Splits `total` into (leaves,) int32; leaves without momentum get what others cannot hold."""
    share = jnp.nan_to_num(share)
    share = share / jnp.maximum(jnp.sum(share), 1e-30) + 1e-6
    capacity, wanted = capacity.astype(jnp.float32), total.astype(jnp.float32)
    return allocate.round_to_total(
        capacity * allocate.fill(share / jnp.maximum(capacity, 1), capacity, wanted), total
    )
