"""The tables' spaces as networks: parameters as the tables have them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gpnas.errors import UserError
from gpnas.models import Cell201, MacroNet
from gpnas.search import load_table

GREY = jnp.zeros((2, 28, 28, 1))
SMALL = {"channels": 4, "cells": 1}


def count(module, images):
    tree = jax.eval_shape(module.init, jax.random.key(0), images)["params"]
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def some(table, number):
    rng = np.random.default_rng(0)
    space = load_table(table).space
    return [space.sample(rng) for _ in range(number)]


@pytest.mark.slow
def test_cells_of_nas_bench_201_have_the_tables_parameters():
    table = load_table("nas_bench_201")
    images = jnp.zeros((1, 32, 32, 3))
    for architecture in [*some("nas_bench_201", 12), ("none",) * 6, ("conv3",) * 6]:
        assert count(Cell201(architecture), images) == table.look_up(architecture)["params"]


@pytest.mark.slow
def test_networks_of_nas_bench_macro_have_the_tables_parameters():
    table = load_table("nas_bench_macro")
    images = jnp.zeros((1, 32, 32, 3))
    for architecture in [*some("nas_bench_macro", 8), ("identity",) * 8, ("mb6_k5",) * 8]:
        assert count(MacroNet(architecture), images) == table.look_up(architecture)["params"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "module",
    [
        Cell201(("conv3", "skip", "none", "pool3", "conv1", "skip"), **SMALL),
        MacroNet(("mb3_k3", "identity") * 4, channels=4, head=16),
    ],
)
def test_grey_images_will_do(module):
    out = jax.eval_shape(lambda key: module.apply(module.init(key, GREY), GREY), jax.random.key(0))
    assert out.shape == (2, 10) and out.dtype == jnp.float32


@pytest.mark.parametrize("module", [Cell201(("conv3",) * 5), Cell201(("conv9",) * 6),
                                    MacroNet(("identity",) * 7)])  # fmt: skip
def test_architectures_of_another_space(module):
    with pytest.raises(UserError, match="architecture: got"):
        module.init(jax.random.key(0), GREY)
