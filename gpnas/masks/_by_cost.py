"""Weights that are counted by their costs, for `allocate.by_total_cost`."""

import inspect
from collections.abc import Mapping
from typing import Any, Protocol

import jax
import jax.numpy as jnp

from gpnas.masks.select import Select
from gpnas.masks.tree import Leaves, total


class Selection(Protocol):
    """A selection whose k is a number of weights, or their cost; `over` as in `exact_top_k`."""

    def __call__(
        self, scores: Leaves, k: Any, key: jax.Array, where: Any = None, over: bool = False
    ) -> Leaves: ...


def selection(select: Select, costs: Mapping[str, int]) -> Selection:
    """A selection in which k is the cost of the weights, or their number without costs.

    Args:
      select: `exact_top_k`, or another selection.
      costs: Cost of one weight by path; empty where k is a number of weights.

    Raises:
      ValueError: For costs and a selection without an argument of that name.
    """
    if costs and "costs" not in inspect.signature(select).parameters:
        raise ValueError(
            f"select: got {getattr(select, '__qualname__', select)} with an allocation by total"
            " cost, allowed: exact_top_k"
        )

    def chosen(
        scores: Leaves, k: Any, key: jax.Array, where: Any = None, over: bool = False
    ) -> Leaves:
        if not costs:
            return select(scores, k, key, where)
        own = {path: costs[path] for path in scores}
        return select(scores, k, key, where, costs=own, over=over)

    return chosen


def per_cost(scores: Leaves, costs: Mapping[str, int]) -> Leaves:
    """Scores divided by the cost of a weight; as they are where there are no costs."""
    return {path: leaf / costs[path] for path, leaf in scores.items()} if costs else scores


def cost_of(masks: Leaves, costs: Mapping[str, int]) -> jax.Array:
    """() int32, the cost of the active weights, or their number where there are no costs."""
    if not costs:
        return total(masks.values())
    return sum((costs[path] * total([leaf]) for path, leaf in masks.items()), jnp.int32(0))
