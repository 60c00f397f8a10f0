"""SNFS: sparse networks from scratch, by sparse momentum."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

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
from gpnas.methods._settings import Count, Decay, Density, Fraction


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
    """Momentum decides where weights grow, and how many each leaf gets.

    Args:
      density: Living fraction, in (0, 1].
      total_steps: Length of the run.
      fraction: p, dropped fraction of each leaf's living at the first event; falls as a cosine.
      every: Steps between events (the paper: one epoch).
      decay: Of the momentum.
      stop_at: When the exchange ends, as a fraction of the run.
      allocation: Of the random masks at the start.

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
        return masks, (score.start((momentum,), masked_leaves(masks, params)), finite.no_skips())

    def update_fn(masks: Any, state: Any, ctx: MaskContext) -> tuple[Any, Any]:
        own = dataclasses.replace(
            ctx, params=masked_leaves(masks, ctx.params), grads=masked_leaves(masks, ctx.grads)
        )
        kept, seen = score.observe_before((momentum,), state[0], own, every, None)
        live, skips = finite.cond_finite(
            ctx.may_update,
            lambda live: exchange(live, kept, own),
            masked_leaves(masks),
            state[1],
            own.grads,
            seen,
        )
        return update_leaves(masks, live), (kept, skips)

    def exchange(live: dict, state: Any, ctx: MaskContext) -> dict:
        pull = momentum.value(state, ctx)
        alive = jnp.array([jnp.sum(m, dtype=jnp.int32) for m in live.values()])
        leave = jnp.round(rate(ctx.step) * alive.astype(jnp.float32)).astype(jnp.int32)
        share = jnp.array([jnp.nanmean(pull[p], where=m) for p, m in live.items()])
        room = jnp.array([m.size for m in live.values()]) - alive + leave
        total = allocate.part_of(curve(ctx.step), sum(m.size for m in live.values())) - jnp.sum(
            alive - leave
        )
        come = apportion(share, room, total)
        after = {}
        for i, (path, mask) in enumerate(live.items()):
            drop_key, grow_key = jax.random.split(jax.random.fold_in(ctx.key, i))
            gone = select.exact_top_k(-jnp.abs(ctx.params[path]), leave[i], drop_key, mask)
            kept = mask & ~gone
            after[path] = kept | select.exact_top_k(pull[path], come[i], grow_key, ~kept)
        return after

    def apportion(share: jax.Array, room: jax.Array, total: jax.Array) -> jax.Array:
        """(leaves,) int32 of sum `total`; one without momentum gets what others cannot take."""
        share = jnp.nan_to_num(share)
        share = share / jnp.maximum(jnp.sum(share), 1e-30) + 1e-6
        room, wanted = room.astype(jnp.float32), total.astype(jnp.float32)
        return allocate.round_to_total(
            room * allocate.fill(share / jnp.maximum(room, 1), room, wanted), total
        )

    transform = every_(between(MaskTransform(init_fn, update_fn), 1, stop), every)
    return Method(transform, Forecast(curve, rate_until(stop, 1.0)))
