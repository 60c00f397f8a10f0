"""SNFS: sparse networks from scratch, by sparse momentum."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from gpnas.masks import (
    MaskContext,
    MaskTransform,
    between,
    exact_top_k,
    maskable,
    plasticity,
    put,
    schedule,
    score,
    sometimes,
)  # fmt: skip
from gpnas.masks import (
    every as every_,
)
from gpnas.masks.allocate import Allocation, erk, fill, round_to_total
from gpnas.methods.method import Method, before


def snfs(
    *,
    density: float,
    total_steps: int,
    fraction: float = 0.5,
    every: int = 100,
    decay: float = 0.9,
    stop_at: float = 1.0,
    allocation: Allocation = erk(),
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
        return masks, score.start((momentum,), maskable(masks, params))

    def update_fn(masks: Any, state: Any, ctx: MaskContext) -> tuple[Any, Any]:
        own = dataclasses.replace(
            ctx, params=maskable(masks, ctx.params), grads=maskable(masks, ctx.grads)
        )
        state = score.observe((momentum,), state, own)
        live = sometimes(ctx.event, lambda live: exchange(live, state, own), maskable(masks))
        return put(masks, live), state

    def exchange(live: dict, state: Any, ctx: MaskContext) -> dict:
        size = {p: jnp.sum(m, dtype=jnp.int32) for p, m in live.items()}
        pull = momentum.value(state, ctx)
        leave = {p: jnp.round(rate(ctx.step) * n).astype(jnp.int32) for p, n in size.items()}
        share = jnp.array([jnp.sum(pull[p] * m) / jnp.maximum(size[p], 1) for p, m in live.items()])
        room = jnp.array([m.size - size[p] + leave[p] for p, m in live.items()], jnp.float32)
        total = jnp.float32(sum(leave.values()))
        come = round_to_total(room * fill(share / jnp.maximum(room, 1), room, total), total)
        after = {}
        for i, (path, mask) in enumerate(live.items()):
            drop_key, grow_key = jax.random.split(jax.random.fold_in(ctx.key, i))
            gone = exact_top_k(-jnp.abs(ctx.params[path]), leave[path], drop_key, mask)
            kept = mask & ~gone
            after[path] = kept | exact_top_k(pull[path], come[i], grow_key, ~kept)
        return after

    transform = every_(every, between(1, stop, MaskTransform(init_fn, update_fn)))
    return Method(transform, curve, before(stop, 1.0))
