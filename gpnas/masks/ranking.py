"""Ranking: masks that are simply the best k of all weights, living or dormant, at every event."""

import dataclasses
from typing import Any

import jax

from gpnas.masks import score as scores
from gpnas.masks import tree
from gpnas.masks.allocate import Allocation, erk
from gpnas.masks.schedule import Schedule
from gpnas.masks.select import Select, exact_top_k
from gpnas.masks.transform import MaskContext, Masks, MaskTransform, between, sometimes
from gpnas.masks.transform import every as every_


def ranking(
    score: scores.Score,
    density: Schedule,
    *,
    allocation: Allocation = erk(),
    every: int = 1,
    start: int = 0,
    stop: int | None = None,
    select: Select = exact_top_k,
) -> MaskTransform:
    """Keeps the highest-scored weights of all, whatever lived before; dense until the first event.

    For methods that judge once (SNIP) or whose dormant weights keep a value (Top-KAST, STE). Where
    dormant weights are zero, `plasticity` is the one to use.

    Args:
      score: Worth of any weight.
      density: Density at a step.
      allocation: Splits it over leaves, or lets them compete.
      every, start, stop: Events are at multiples of `every` in `start <= step < stop`.
      select: `exact_top_k` or a structured selection of the same signature.

    Returns:
      The mask transform; its state is the score's statistics.
    """

    def init_fn(masks: Masks, params: Any, key: jax.Array) -> tuple[Masks, Any]:
        del key
        return masks, scores.start((score,), tree.maskable(masks, params))

    def update_fn(masks: Masks, state: Any, ctx: MaskContext) -> tuple[Masks, Any]:
        live = tree.maskable(masks)
        own = dataclasses.replace(
            ctx, params=tree.maskable(masks, ctx.params), grads=tree.maskable(masks, ctx.grads)
        )
        state = scores.observe((score,), state, own)

        def at_event(live: dict[str, jax.Array]) -> dict[str, jax.Array]:
            worth = score.value(state, own)
            shapes = {path: leaf.shape for path, leaf in live.items()}
            for i, (group, k) in enumerate(allocation(shapes, density(ctx.step)).items()):
                members = {path: worth[path] for path in group}
                live = live | select(members, k, jax.random.fold_in(ctx.key, i))
            return live

        return tree.put(masks, sometimes(ctx.event, at_event, live)), state

    return every_(every, between(start, stop, MaskTransform(init_fn, update_fn)))
