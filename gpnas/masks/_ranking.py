"""Ranking: keeps the k highest-scored weights, active or inactive, at each mask update."""

from typing import Any, NamedTuple

import jax

from gpnas.masks import score as scores
from gpnas.masks._by_cost import divided_by_cost, selection
from gpnas.masks._leaves import masked_leaves, update_leaves
from gpnas.masks._transform import MaskContext, Masks, MaskTransform, between
from gpnas.masks._transform import every as every_
from gpnas.masks.allocate import Allocation, erk
from gpnas.masks.finite import Skips, cond_finite, no_skips
from gpnas.masks.schedule import Schedule, check_densities
from gpnas.masks.select import Select


class RankingState(NamedTuple):
    """State of `ranking`: running statistics of the score, and steps with non-finite gradients."""

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
    select: Select | None = None,
) -> MaskTransform:
    """Keeps the highest-scored of all weights, whether they were active or not.

    The network is dense until the first mask update. Use it for methods with one mask update (SNIP)
    or with nonzero inactive weights (Top-KAST, STE); if inactive weights are 0, use `plasticity`.

    Args:
      score: Score of a weight.
      density: Density at a step.
      allocation: Splits the density over leaves, or lets leaves compete.
      every, start, stop: Mask updates are at multiples of `every` in `start <= step < stop`.
      select: A structured selection among competing leaves, without costs; None: exactly the k
        highest scores.

    Returns:
      The mask transform, with a `RankingState`.

    Raises:
      ValueError: If `every` is below 1, or a density is not in [0, 1].
    """
    check_densities(density)

    def init_fn(masks: Masks, params: Any, key: jax.Array) -> tuple[Masks, Any]:
        del key
        return masks, RankingState(
            scores.init_statistics((score,), masked_leaves(masks, params)), no_skips()
        )

    def update_fn(
        masks: Masks, state: RankingState, ctx: MaskContext
    ) -> tuple[Masks, RankingState]:
        own = ctx.of_masked(masks)
        kept, seen = scores.observe_before((score,), state.statistics, own, every, None)

        def update_masks(masks: Masks) -> Masks:
            active = masked_leaves(masks)  # in natural order: loops reorder dicts
            shapes = {path: leaf.shape for path, leaf in active.items()}
            costs = allocation.weight_costs(shapes)
            values = divided_by_cost(score.value(kept, own), costs)
            targets = allocation(shapes, density(ctx.step)).items()
            wanted = {g: (k, jax.random.fold_in(ctx.key, i)) for i, (g, k) in enumerate(targets)}
            return update_leaves(masks, selection(select, costs)(wanted, values))

        masks, skips = cond_finite(
            ctx.may_update, update_masks, masks, state.skips, own.grads, seen
        )
        return masks, RankingState(kept, skips)

    observe = scores.observed((score,), every, None)
    transform = MaskTransform(init_fn, update_fn, may_observe=observe)
    return every_(between(transform, start, stop), every)
