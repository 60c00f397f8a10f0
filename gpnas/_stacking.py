"""Stacks pytrees of several networks along a new first axis, for `vmap`."""

import operator
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp


def stack(trees: Sequence[Any]) -> Any:
    """Stacks pytrees of equal shapes along a new first axis; a single one is not changed."""
    return trees[0] if len(trees) == 1 else jax.tree.map(lambda *x: jnp.stack(x), *trees)


def unstack(tree: Any, count: int) -> list[Any]:
    """Splits a stack into its pytrees."""
    if count == 1:
        return [tree]
    return [jax.tree.map(operator.itemgetter(i), tree) for i in range(count)]
