"""Selection in groups of leaves, whose weights may be counted by their costs."""

from collections.abc import Mapping
from typing import Any, Protocol

import jax
import jax.numpy as jnp

from gpnas.masks.allocate import Group
from gpnas.masks.select import Select, exact_top_k, exact_top_k_each
from gpnas.masks.tree import Leaves, total

#: k, a number of weights or their cost, and the random key of each group.
Wanted = Mapping[Group, tuple[jax.Array, jax.Array]]


class Selection(Protocol):
    """Selects in each group among leaves by path; `over` as in `exact_top_k`."""

    def __call__(
        self, wanted: Wanted, scores: Leaves, where: Leaves | None = None, over: bool = False
    ) -> Leaves: ...


def selection(select: Select, costs: Mapping[str, int]) -> Selection:
    """A selection in groups; `exact_top_k` selects in all of them by one search.

    Args:
      select: `exact_top_k`, or another selection.
      costs: Cost of one weight by path; empty where k is a number of weights.

    Raises:
      ValueError: For costs and another selection.
    """
    if costs and select is not exact_top_k:
        raise ValueError(
            f"select: got {getattr(select, '__qualname__', select)} with an allocation by total"
            " cost, allowed: exact_top_k"
        )

    def chosen(
        wanted: Wanted, scores: Leaves, where: Leaves | None = None, over: bool = False
    ) -> Leaves:
        def split(leaves: Mapping[str, Any]) -> list[dict[str, Any]]:
            return [{path: leaves[path] for path in group} for group in wanted]

        k, keys = ([pair[i] for pair in wanted.values()] for i in range(2))
        own, allowed = split(scores), None if where is None else split(where)
        if select is exact_top_k:
            each = split(costs) if costs else None
            found = exact_top_k_each(own, k, keys, allowed, each, over)
        else:
            args = zip(own, k, keys, *([] if allowed is None else [allowed]), strict=True)
            found = [select(*each) for each in args]
        return {path: mask for masks in found for path, mask in masks.items()}

    return chosen


def per_cost(scores: Leaves, costs: Mapping[str, int]) -> Leaves:
    """Scores divided by the cost of a weight; as they are where there are no costs."""
    return {path: leaf / costs[path] for path, leaf in scores.items()} if costs else scores


def cost_of(masks: Leaves, costs: Mapping[str, int]) -> jax.Array:
    """() int32, the cost of the active weights, or their number where there are no costs."""
    if not costs:
        return total(masks.values())
    return sum((costs[path] * total([leaf]) for path, leaf in masks.items()), jnp.int32(0))
