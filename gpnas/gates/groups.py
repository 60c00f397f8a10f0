"""Groups of weights that share a gate."""

import math
from collections.abc import Callable, Collection, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from gpnas.gates._gate import Leaves
from gpnas.masks import tree

#: `{path: weights} → {path: axis}`, the (negative) axis of each leaf's groups.
Grouping = Callable[[Leaves], dict[str, int]]


def inputs_and_filters(weights: Leaves) -> dict[str, int]:
    """Groups weights per input unit of a dense layer, and per filter of a convolution.

    Args:
      weights: Weights by path, in natural order.

    Returns:
      `{path: axis}`, the (negative) axis of each leaf's groups.
    """
    return {path: -2 if w.ndim == 2 else -1 for path, w in weights.items()}


def hidden_units(output_layers: Collection[str] = ()) -> Grouping:
    """Returns a grouping of the incoming weights of each unit, in all layers but the output layers.

    Args:
      output_layers: Paths of their weights (`units.output_layers`); if empty, the last leaf in the
        natural order of paths.
    """

    def grouping(weights: Leaves) -> dict[str, int]:
        outputs = output_layers or list(weights)[-1:]
        return {path: -1 for path in weights if path not in outputs}

    return grouping


def axes_of(grouping: Grouping, weights: Leaves) -> dict[str, int]:
    """Returns the axis of each leaf's groups.

    Raises:
      ValueError: If the grouping names a layer that does not exist.
    """
    axes = grouping(weights)
    if unknown := [path for path in axes if path not in weights]:
        raise ValueError(f"gates: got a gate on {unknown[0]}, allowed: {', '.join(weights)}")
    return axes


def group_sizes(weights: Leaves, axes: Mapping[str, int]) -> dict[str, int]:
    """Returns the number of weights per group, by path."""
    return {p: math.prod(weights[p].shape) // weights[p].shape[axis] for p, axis in axes.items()}


def squares(weights: Leaves, axes: Mapping[str, int]) -> dict[str, jax.Array]:
    """Sums the squared weights of each group: (groups,) by path."""

    def summed(w: jax.Array, axis: int) -> jax.Array:
        return jnp.sum(
            jnp.square(tree.wide(w)), tuple(i for i in range(w.ndim) if i != w.ndim + axis)
        )

    return {path: summed(weights[path], axis) for path, axis in axes.items()}


def spread(gates: Leaves, axes: Mapping[str, int], weights: Leaves) -> dict[str, jax.Array]:
    """Reshapes gates, (groups,) by path, to broadcast over the weights."""

    def shape(path: str, axis: int) -> list[int]:
        ndim = weights[path].ndim
        return [-1 if i == ndim + axis else 1 for i in range(ndim)]

    return {path: gates[path].reshape(shape(path, axis)) for path, axis in axes.items()}


def multiply(params: Any, factors: Leaves) -> Any:
    """Multiplies leaves of the params by their factors, if they have one."""

    def leaf(path: tuple, param: jax.Array) -> jax.Array:
        factor = factors.get(tree.path_name(path))
        return param if factor is None else param * factor.astype(param.dtype)

    return jax.tree.map_with_path(leaf, params)
