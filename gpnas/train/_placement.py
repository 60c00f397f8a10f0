"""Where arrays lie: on all devices, spread over them, or in the memory of a process."""

from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

AXIS = "data"  # of the mesh


def mesh() -> Mesh:
    """All devices of all processes, over which a batch is spread."""
    return Mesh(np.array(jax.devices()), (AXIS,), axis_types=(AxisType.Auto,))


def shardings(tree: Any, min_size: int, devices: Mesh) -> Any:
    """Shardings of a state, as fully sharded data parallelism has them.

    An array of at least `min_size` elements is split along its largest axis that the number of
    devices divides, the last of equal ones. The rule looks at shapes only: weights, their masks,
    moments and statistics lie on the same devices.

    Args:
      tree: Arrays or their shapes.
      min_size: Elements of the smallest array that is split; 0 splits none.
      devices: A mesh of one axis.

    Returns:
      A `NamedSharding` for each leaf; smaller arrays, and those with no such axis, are replicated.
    """
    (axis,) = devices.axis_names

    def one(x: Any) -> NamedSharding:
        fits = [(length, i) for i, length in enumerate(x.shape) if length % devices.size == 0]
        if not min_size or x.size < min_size or not fits or devices.size == 1:
            return NamedSharding(devices, PartitionSpec())
        return NamedSharding(devices, PartitionSpec(*[None] * max(fits)[1], axis))

    return jax.tree.map(one, tree)


def put(tree: Any, shardings: Any = None) -> Any:
    """Copies a pytree, which each process holds, to all devices; nothing is sent.

    Args:
      tree: Of arrays; typed random keys may be among them, as replicated leaves.
      shardings: Of its leaves; replicated if None.
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
    """Positions in a batch, spread evenly over all devices, of the examples of this process."""
    owners = np.array([device.process_index for device in jax.devices()])
    return np.flatnonzero(np.repeat(owners == jax.process_index(), batch_size // len(owners)))


def on_first_device(tree: Any) -> Any:
    """A pytree that all devices hold, as this process' first one does; nothing is copied."""
    return jax.tree.map(lambda x: x.addressable_data(0), tree)


def fetch(tree: Any) -> Any:
    """A pytree as each process holds it: the inverse of `put`.

    Returns:
      Replicated arrays as `on_first_device` has them, others whole, as NumPy arrays, since they may
      not fit on one device.
    """

    def one(x: jax.Array) -> Any:
        if x.is_fully_replicated:
            return x.addressable_data(0)
        if jax.process_count() == 1:
            return np.asarray(x)
        return multihost_utils.process_allgather(x, tiled=True)

    return jax.tree.map(one, tree)
