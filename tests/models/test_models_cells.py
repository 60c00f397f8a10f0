"""The tables' spaces as networks: parameters as the tables have them, weights that are shared."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gpnas.errors import UserError
from gpnas.models import Cell201, MacroNet, Supernet201, cell201, choice
from gpnas.search import load_table

GREY = jnp.zeros((2, 28, 28, 1))
SMALL = {"channels": 4, "cells": 1}


def count(module, images, *arguments):
    tree = jax.eval_shape(module.init, jax.random.key(0), images, *arguments)["params"]
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
def test_a_supernet_is_each_of_its_networks():
    rng = np.random.default_rng(0)
    images = jnp.asarray(rng.normal(size=(3, 12, 12, 1)), jnp.float32)
    supernet = Supernet201(**SMALL)
    variables = supernet.init(jax.random.key(0), images, choice(("skip",) * 6))
    run = jax.jit(supernet.apply)
    for architecture in some("nas_bench_201", 3):
        path = choice(architecture)
        mixed = run(variables, images, jax.nn.one_hot(path, len(cell201.OPERATIONS)))
        alone = Cell201(architecture, **SMALL)
        own = alone.init(jax.random.key(1), images)
        shared = jax.tree.map_with_path(
            lambda path, leaf: _at(variables["params"], path), own["params"]
        )
        expected, _ = alone.apply(
            {**own, "params": shared}, images, train=True, mutable=["batch_stats"]
        )
        for found in (mixed, run(variables, images, path)):
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def _at(tree, path):
    for key in path:
        tree = tree[key.key]
    return tree


@pytest.mark.slow
def test_a_mixture_is_differentiable_in_its_weights(monkeypatch):
    monkeypatch.setattr(cell201, "STAGES", 1)
    images = jnp.asarray(np.random.default_rng(0).normal(size=(2, 12, 12, 1)), jnp.float32)
    supernet = Supernet201(**SMALL)
    even = jnp.full((6, len(cell201.OPERATIONS)), 1 / len(cell201.OPERATIONS))
    variables = supernet.init(jax.random.key(0), images, even)
    slopes = jax.grad(lambda mix: supernet.apply(variables, images, mix)[0, 0])(even)
    assert slopes.shape == even.shape and np.isfinite(slopes).all()
    none = cell201.OPERATIONS.index("none")
    assert not slopes[:, none].any() and (np.abs(np.delete(slopes, none, 1)) > 0).any(1).all()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        (Cell201(("conv3", "skip", "none", "pool3", "conv1", "skip"), **SMALL), ()),
        (MacroNet(("mb3_k3", "identity") * 4, channels=4, head=16), ()),
        (Supernet201(**SMALL), (choice(("conv3",) * 6),)),
    ],
)
def test_grey_images_will_do(module, arguments):
    out = jax.eval_shape(
        lambda key: module.apply(module.init(key, GREY, *arguments), GREY, *arguments),
        jax.random.key(0),
    )
    assert out.shape == (2, 10) and out.dtype == jnp.float32


@pytest.mark.parametrize("module", [Cell201(("conv3",) * 5), Cell201(("conv9",) * 6),
                                    MacroNet(("identity",) * 7)])  # fmt: skip
def test_architectures_of_another_space(module):
    with pytest.raises(UserError, match="architecture: got"):
        module.init(jax.random.key(0), GREY)
