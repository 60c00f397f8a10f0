"""Mask updates of sharded parameters: devices exchange counts, never weights or scores."""

import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from gpnas.masks import MaskContext, init_masks
from gpnas.methods import METHODS

SHAPES = {"a": {"kernel": (64, 24)}, "b": {"kernel": (24, 10)}}


@pytest.mark.slow
def test_a_mask_update_exchanges_counts_only():
    params = jax.tree.map(jnp.ones, SHAPES, is_leaf=lambda x: isinstance(x, tuple))
    transform = METHODS["granet"](density=0.2, total_steps=100, every=10).transform
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
    text = jax.jit(update, out_shardings=out).lower(*given).compile().as_text()
    sent = re.findall(r"= (.*) (?:all-gather|all-reduce|all-to-all|collective-permute)\(", text)
    sizes = [
        math.prod(int(n) for n in shape.split(",") if n)
        for types in sent
        for shape in re.findall(r"\[([\d,]*)\]", re.sub(r"\{.*?\}", "", types))
    ]
    assert sizes and max(sizes) <= jax.device_count()
