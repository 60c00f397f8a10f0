"""The supernet of NAS-Bench-201 with shared weights: it is each of its networks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.studies.supernet201 import Supernet201, choice
from gpnas.models import Cell201, cell201
from gpnas.search import load_table

SMALL = {"channels": 4, "cells": 1}


def some(number):
    rng = np.random.default_rng(0)
    space = load_table("nas_bench_201").space
    return [space.sample(rng) for _ in range(number)]


@pytest.mark.exhaustive
def test_a_supernet_is_each_of_its_networks():
    rng = np.random.default_rng(0)
    images = jnp.asarray(rng.normal(size=(3, 12, 12, 1)), jnp.float32)
    supernet = Supernet201(**SMALL)
    variables = supernet.init(jax.random.key(0), images, choice(("skip",) * 6))
    run = jax.jit(supernet.apply)
    for architecture in some(3):
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
