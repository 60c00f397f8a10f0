"""Selection in groups of leaves, by number of weights or by total cost."""

from collections.abc import Mapping
from typing import Any, Protocol

import jax
import jax.numpy as jnp

from gpnas.masks.allocate import Group
from gpnas.masks.select import Select, exact_top_k_each
from gpnas.masks.tree import Leaves, total

#: `{group: (k, key)}`: k is the number or total cost of the weights to select; key breaks ties.
Wanted = Mapping[Group, tuple[jax.Array, jax.Array]]


class Selection(Protocol):
    """Selects in each group among leaves by path; `over` as in `exact_top_k`."""

    def __call__(
        self, wanted: Wanted, scores: Leaves, where: Leaves | None = None, over: bool = False
    ) -> Leaves: ...


def selection(select: Select | None, costs: Mapping[str, int]) -> Selection:
    """Returns a selection that works on groups of leaves.

    Args:
      select: Called once per group; None: `exact_top_k_each`, one search for all groups.
      costs: Cost of one weight by path; empty if k is a number of weights.

    Raises:
      ValueError: If both costs and a selection are given.
    """
    if costs and select is not None:
        raise ValueError(
            f"select: got {getattr(select, '__qualname__', select)} with an allocation by total"
            " cost, allowed: None"
        )

    def chosen(
        wanted: Wanted, scores: Leaves, where: Leaves | None = None, over: bool = False
    ) -> Leaves:
        def split(leaves: Mapping[str, Any]) -> list[dict[str, Any]]:
            return [{path: leaves[path] for path in group} for group in wanted]

        k, keys = ([pair[i] for pair in wanted.values()] for i in range(2))
        own, allowed = split(scores), None if where is None else split(where)
        if select is None:
            each = split(costs) if costs else None
            found = exact_top_k_each(own, k, keys, allowed, each, over)
        else:
            args = zip(own, k, keys, *([] if allowed is None else [allowed]), strict=True)
            found = [select(*each) for each in args]
        return {path: mask for masks in found for path, mask in masks.items()}

    return chosen


def divided_by_cost(scores: Leaves, costs: Mapping[str, int]) -> Leaves:
    """Returns scores divided by the cost of a weight; unchanged if `costs` is empty."""
    return {path: leaf / costs[path] for path, leaf in scores.items()} if costs else scores


def mask_cost(masks: Leaves, costs: Mapping[str, int]) -> jax.Array:
    """Returns () int32, the cost of the active weights, or their number if `costs` is empty."""
    if not costs:
        return total(masks.values())
    return sum((costs[path] * total([leaf]) for path, leaf in masks.items()), jnp.int32(0))
