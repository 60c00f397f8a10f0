"""Placement of arrays: replicated, sharded over devices, or in host memory."""

from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

AXIS = "data"  # axis of the mesh


def mesh() -> Mesh:
    """Returns the mesh of all devices of all processes, over which a batch is sharded."""
    return Mesh(np.array(jax.devices()), (AXIS,), axis_types=(AxisType.Auto,))


def shardings(tree: Any, min_size: int, devices: Mesh) -> Any:
    """Returns shardings of a state for fully sharded data parallelism.

    An array of at least `min_size` elements is sharded along its largest axis that is divisible by
    the number of devices (the last of equal axes). The rule depends on shapes only, so that
    weights, masks, moments and statistics are on the same devices.

    Args:
      tree: Arrays or their shapes.
      min_size: Elements of the smallest array that is sharded; 0: none.
      devices: A mesh of one axis.

    Returns:
      A `NamedSharding` per leaf; smaller arrays, and those without such an axis, are replicated.
    """
    (axis,) = devices.axis_names

    def one(x: Any) -> NamedSharding:
        fits = [(length, i) for i, length in enumerate(x.shape) if length % devices.size == 0]
        if not min_size or x.size < min_size or not fits or devices.size == 1:
            return NamedSharding(devices, PartitionSpec())
        return NamedSharding(devices, PartitionSpec(*[None] * max(fits)[1], axis))

    return jax.tree.map(one, tree)


def put(tree: Any, shardings: Any = None) -> Any:
    """Copies a pytree, which each process holds, to all devices, without communication.

    Args:
      tree: Arrays and typed random keys; keys are replicated.
      shardings: Shardings of the leaves; None: replicated.
    """
    everywhere = NamedSharding(mesh(), PartitionSpec())
    shardings = jax.tree.map(lambda _: everywhere, tree) if shardings is None else shardings
    if jax.process_count() == 1:
        return jax.device_put(tree, shardings)
    here = NamedSharding(everywhere.mesh.local_mesh, PartitionSpec())

    def one(x: Any, sharding: NamedSharding) -> jax.Array:
        if not sharding.is_fully_replicated:
            return jax.make_array_from_callback(x.shape, sharding, lambda at: np.asarray(x[at]))
        parts = [shard.data for shard in jax.device_put(x, here).addressable_shards]
        return jax.make_array_from_single_device_arrays(np.shape(x), sharding, parts)

    return jax.tree.map(one, tree, shardings)


def own_columns(batch_size: int) -> np.ndarray:
    """Returns this process's positions in a batch that is sharded evenly over all devices."""
    owners = np.array([device.process_index for device in jax.devices()])
    return np.flatnonzero(np.repeat(owners == jax.process_index(), batch_size // len(owners)))


def on_first_device(tree: Any) -> Any:
    """Returns a replicated pytree on this process's first device, without copies."""
    return jax.tree.map(lambda x: x.addressable_data(0), tree)


def fetch(tree: Any) -> Any:
    """Fetches a pytree to each process: the inverse of `put`.

    Returns:
      Replicated arrays as from `on_first_device`; sharded arrays as complete NumPy arrays, since
      they may not fit on one device.
    """

    def one(x: jax.Array) -> Any:
        if x.is_fully_replicated:
            return x.addressable_data(0)
        if jax.process_count() == 1:
            return np.asarray(x)
        return multihost_utils.process_allgather(x, tiled=True)

    return jax.tree.map(one, tree)
