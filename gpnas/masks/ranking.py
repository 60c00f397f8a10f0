"""Ranking: masks that are simply the best k of all weights, living or dormant, at every event."""

import dataclasses
from typing import Any, NamedTuple

import jax

from gpnas.masks import score as scores
from gpnas.masks import tree
from gpnas.masks.allocate import Allocation, erk
from gpnas.masks.finite import Skips, no_skips, sometimes_finite
from gpnas.masks.schedule import Schedule, check_densities
from gpnas.masks.select import Select, exact_top_k
from gpnas.masks.transform import MaskContext, Masks, MaskTransform, between
from gpnas.masks.transform import every as every_


class RankingState(NamedTuple):
    """Running statistics of the score, and steps whose gradients were not finite."""

    statistics: dict[str, Any]
    skips: Skips


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
      The mask transform, with a `RankingState`.

    Raises:
      ValueError: If a density is not in [0, 1].
    """

    check_densities(density)

    def init_fn(masks: Masks, params: Any, key: jax.Array) -> tuple[Masks, Any]:
        del key
        return masks, RankingState(scores.start((score,), tree.maskable(masks, params)), no_skips())

    def update_fn(
        masks: Masks, state: RankingState, ctx: MaskContext
    ) -> tuple[Masks, RankingState]:
        live = tree.maskable(masks)
        own = dataclasses.replace(
            ctx, params=tree.maskable(masks, ctx.params), grads=tree.maskable(masks, ctx.grads)
        )
        kept, seen = scores.observe_before((score,), state.statistics, own, every, None)

        def at_event(live: dict[str, jax.Array]) -> dict[str, jax.Array]:
            worth = score.value(kept, own)
            shapes = {path: leaf.shape for path, leaf in live.items()}
            for i, (group, k) in enumerate(allocation(shapes, density(ctx.step)).items()):
                members = {path: worth[path] for path in group}
                live = live | select(members, k, jax.random.fold_in(ctx.key, i))
            return live

        live, skips = sometimes_finite(ctx.event, at_event, live, state.skips, own.grads, seen)
        return tree.put(masks, live), RankingState(kept, skips)

    return every_(every, between(start, stop, MaskTransform(init_fn, update_fn)))
