"""How many elements of an array reach thresholds, on one device or on several that hold parts."""

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import AxisType


def counts(leaf: jax.Array, thresholds: list[jax.Array]) -> list[jax.Array]:
    """() int32 for each threshold, the number of elements of a uint32 leaf that reach it.

    Of a whole leaf one reduction of many operands, so that XLA reads it once for all of them.
    Devices would gather the result of each operand; those of sums XLA adds up all at once.
    """
    reached = [(leaf >= t).astype(jnp.int32) for t in thresholds]
    if _may_be_split(leaf):
        return [jnp.sum(x, dtype=jnp.int32) for x in reached]

    def add(a: list[jax.Array], b: list[jax.Array]) -> list[jax.Array]:
        return [x + y for x, y in zip(a, b, strict=True)]

    return lax.reduce(reached, [jnp.int32(0)] * len(reached), add, tuple(range(leaf.ndim)))


def _may_be_split(leaf: jax.Array) -> bool:
    """Whether devices may hold parts of an array: as its type says, or the mesh that is set."""
    mesh = jax.sharding.get_abstract_mesh()
    unknown = AxisType.Auto in mesh.axis_types and mesh.size > 1
    return unknown or any(axis is not None for axis in jax.typeof(leaf).sharding.spec)
