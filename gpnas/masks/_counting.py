"""Counts of elements at or above thresholds, for arrays on one device or sharded over several."""

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import AxisType


def counts(leaf: jax.Array, thresholds: list[jax.Array]) -> list[jax.Array]:
    """Returns () int32 per threshold, the number of elements of a uint32 leaf that reach it.

    An unsharded leaf takes one reduction with many operands, so that XLA reads the leaf once. For a
    sharded leaf that would gather each operand's result; sums are combined in one all-reduce.
    """
    reached = [(leaf >= t).astype(jnp.int32) for t in thresholds]
    if _may_be_split(leaf):
        return [jnp.sum(x, dtype=jnp.int32) for x in reached]

    def add(a: list[jax.Array], b: list[jax.Array]) -> list[jax.Array]:
        return [x + y for x, y in zip(a, b, strict=True)]

    return lax.reduce(reached, [jnp.int32(0)] * len(reached), add, tuple(range(leaf.ndim)))


def _may_be_split(leaf: jax.Array) -> bool:
    """Returns whether an array may be sharded, according to its type or to the mesh that is set."""
    mesh = jax.sharding.get_abstract_mesh()
    unknown = AxisType.Auto in mesh.axis_types and mesh.size > 1
    return unknown or any(axis is not None for axis in jax.typeof(leaf).sharding.spec)
