"""Mask updates of sharded parameters: devices exchange counts, never weights or scores."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from experiments.benchmarks.collectives import collectives
from gpnas.masks import MaskContext, allocate, init_masks
from gpnas.methods import METHODS
from tests.cases import some


def sent(layers, **settings):
    """The collectives of a mask update of GraNet, its leaves split over eight devices."""
    params = {f"Dense_{i}": {"kernel": jnp.ones((64, 24 - i))} for i in range(layers)}
    transform = METHODS["granet"](density=0.2, total_steps=100, every=10, **settings).transform
    masks, state = transform.init(init_masks(params), params, jax.random.key(0))
    mesh = Mesh(np.array(jax.devices()), ("data",))
    rows, whole = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in (("data",), ()))

    def sharding(x):
        return rows if getattr(x, "ndim", 0) == 2 else whole

    def update(masks, state, params, grads, step, key):
        return transform.update(
            masks, state, MaskContext(step=step, params=params, grads=grads, key=key)
        )

    given = (masks, state, params, params, jnp.int32(10), jax.random.key(1))
    given = jax.tree.map(lambda x: jax.device_put(x, sharding(x)), given)
    out = jax.tree.map(sharding, jax.eval_shape(update, *given))
    with jax.set_mesh(mesh):
        lowered = jax.jit(update, out_shardings=out).lower(*given)
    return collectives(lowered.compile().as_text())


@pytest.mark.slow
@pytest.mark.parametrize("allocation", some(["erk", "global_"], ["erk"]))
def test_a_mask_update_exchanges_as_many_counts_as_the_selection_has_passes(allocation):
    """Of pruned weights and of grown ones, each with a second search if there are ties."""
    few, many = (sent(n, allocation=getattr(allocate, allocation)()) for n in (2, 5))
    assert sum(x.times for x in few) == sum(x.times for x in many) <= 2 * 2 * 16 + 4
    # Four int32 of a leaf; of a leaf itself, even of a mask, it would be 1,280 bytes or more.
    assert max(x.size for x in many) <= 5 * 4 * 4
