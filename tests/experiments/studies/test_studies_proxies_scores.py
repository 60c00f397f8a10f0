"""Zero-cost proxies: against NumPy on a small net, and a supernet against its networks."""

import sys

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.studies.proxies.scores import PROXIES, measure, synflow
from experiments.studies.supernet201 import Supernet201, choice
from gpnas.errors import UserError
from gpnas.models import Cell201, LeNet300, ReLU, cell201
from gpnas.search import load_table

WIDTHS = (7, 6, 3)
SHAPE = (6, 2, 2, 1)
SMALL = {"channels": 4, "cells": 1}
DATA_PROXIES = ("synflow", "nwot", "grad_norm", "snip", "jacov")


class Net(nn.Module):
    """Dense layers with ReLU between, and norms if asked for."""

    norms: bool = False

    @nn.compact
    def __call__(self, images, train=False):
        x = images.reshape(len(images), -1)
        for at, width in enumerate(WIDTHS):
            x = nn.Dense(width, name=f"dense{at}")(x)
            if self.norms:
                x = nn.BatchNorm(use_running_average=not train)(x)
            if at < len(WIDTHS) - 1:
                x = ReLU()(x)
        return x


def batch(shape=SHAPE, classes=3):
    rng = np.random.default_rng(0)
    return jnp.asarray(rng.normal(size=shape), jnp.float32), jnp.arange(shape[0]) % classes


def apply(params, images):
    return Net().apply({"params": params}, images)


def some_params():
    tree = Net().init(jax.random.key(0), batch()[0])["params"]
    rng = np.random.default_rng(1)
    return jax.tree.map(lambda p: jnp.asarray(rng.normal(size=p.shape) * 0.5, jnp.float32), tree)


def scores(module, names, images, labels):
    """Of a module with parameters of its own."""
    variables = module.init(jax.random.key(0), images)

    def apply(params, images):
        found = {**variables, "params": params}
        return module.apply(found, images, train=True, mutable=["batch_stats"])[0]

    return measure(apply, names, variables["params"], images, labels)


def by_hand(params, images, labels):
    """Proxies in float64, with the chain rule written out."""
    layers = [params[f"dense{at}"] for at in range(3)]
    (w1, w2, w3) = (np.asarray(layer["kernel"], np.float64) for layer in layers)
    (b1, b2, b3) = (np.asarray(layer["bias"], np.float64) for layer in layers)
    x = np.asarray(images, np.float64).reshape(len(images), -1)
    h1 = np.maximum(x @ w1 + b1, 0)
    h2 = np.maximum(h1 @ w2 + b2, 0)
    logits = h2 @ w3 + b3
    softmax = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    d3 = (softmax - np.eye(3)[labels]) / len(x)
    d2 = d3 @ w3.T * (h2 > 0)
    d1 = d2 @ w2.T * (h1 > 0)
    grads = (x.T @ d1, h1.T @ d2, h2.T @ d3)
    jacobian = ((np.ones_like(logits) @ w3.T * (h2 > 0)) @ w2.T * (h1 > 0)) @ w1.T
    spectrum = np.linalg.eigvalsh(np.corrcoef(jacobian)) + 1e-5
    codes = np.concatenate([h1 > 0, h2 > 0], 1)
    kernel = (codes[:, None] == codes[None]).sum(-1)
    flow = np.abs(w1) @ np.abs(w2) @ np.abs(w3)  # each layer's Σ w · ∂R/∂w is R
    return {
        "synflow": np.log(3 * flow.sum()),
        "nwot": np.linalg.slogdet(kernel)[1],
        "grad_norm": sum(np.linalg.norm(g) for g in grads),
        "snip": sum(np.abs(w * g).sum() for w, g in zip((w1, w2, w3), grads, strict=True)),
        "jacov": -np.sum(np.log(spectrum) + 1 / spectrum),
        "params": 4 * 7 + 7 + 7 * 6 + 6 + 6 * 3 + 3,
        "macs": 4 * 7 + 7 * 6 + 6 * 3,
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", PROXIES)
def test_proxies_of_a_small_net_by_hand(name):
    params, (images, labels) = some_params(), batch((3, 2, 2, 1))
    expected = by_hand(params, images, np.asarray(labels))[name]
    found = PROXIES[name](apply, params, images, labels)
    assert found.shape == () and found.dtype == jnp.float32
    # The correlations of three Jacobians of four pixels have a spectrum that reaches 0.
    assert float(found) == pytest.approx(expected, rel=1e-2 if name == "jacov" else 1e-4)


def test_synflow_where_the_sum_itself_overflows():
    params, (images, labels) = some_params(), batch()
    large = jax.tree.map(lambda p: p * 1e15, params)
    small = jax.tree.map(lambda p: p * 1e-2, params)
    here = float(synflow(apply, params, images, labels))
    for scaled, factor in ((large, 1e15), (small, 1e-2)):
        found = float(synflow(apply, scaled, images, labels))
        assert found == pytest.approx(here + 3 * np.log(factor), rel=1e-5)


def test_synflow_without_a_path_and_codes_that_are_the_same():
    params, (images, labels) = some_params(), batch()
    dead = params | {"dense1": jax.tree.map(jnp.zeros_like, params["dense1"])}
    assert synflow(apply, dead, images, labels) == -jnp.inf
    same = jnp.ones_like(images)
    assert PROXIES["nwot"](apply, params, same, labels) == -jnp.inf


@pytest.mark.slow
def test_synflow_leaves_norms_out():
    images, labels = batch()
    bare = scores(Net(), ["synflow"], images, labels)
    assert scores(Net(norms=True), ["synflow"], images, labels) == bare


@pytest.mark.exhaustive
def test_a_supernet_scores_as_one_of_its_networks(monkeypatch):
    monkeypatch.setattr(cell201, "STAGES", 1)  # three would take three times as long to compile
    images, labels = batch((4, 8, 8, 1))
    supernet, names = Supernet201(**SMALL), DATA_PROXIES
    start = choice(("skip",) * 6)
    params = supernet.init(jax.random.key(0), images, start)["params"]

    @jax.jit
    def shared(params, selection):
        def apply(params, images):
            return supernet.apply({"params": params}, images, selection, train=True)

        return measure(apply, names, params, images, labels)

    architecture = ("conv3", "skip", "none", "conv1", "pool3", "conv3")
    alone = Cell201(architecture, **SMALL)
    shapes = jax.eval_shape(alone.init, jax.random.key(0), images)
    own = jax.tree.map_with_path(lambda at, leaf: _at(params, at), shapes["params"])
    stats = jax.tree.map(lambda s: jnp.zeros(s.shape), shapes["batch_stats"])

    def apply(params, images):
        variables = {"params": params, "batch_stats": stats}
        return alone.apply(variables, images, train=True, mutable=["batch_stats"])[0]

    expected = jax.jit(lambda params: measure(apply, names, params, images, labels))(own)
    found = shared(params, choice(architecture))
    for name in names:
        rough = 2e-2 if name == "jacov" else 1e-3
        assert float(found[name]) == pytest.approx(float(expected[name]), rel=rough), name


def _at(tree, path):
    for key in path:
        tree = tree[key.key]
    return tree


@pytest.mark.slow
def test_params_and_macs_are_the_tables():
    table = load_table("nas_bench_201")
    rng = np.random.default_rng(0)
    images = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    for _ in range(4):
        architecture = table.space.sample(rng)
        module = Cell201(architecture)
        variables = jax.eval_shape(module.init, jax.random.key(0), images)

        def apply(params, images, module=module, variables=variables):
            zeros = jax.tree.map(lambda s: jnp.zeros(s.shape), variables["batch_stats"])
            return module.apply({"params": params, "batch_stats": zeros}, images)

        row = table.look_up(architecture)
        for name in ("params", "macs"):
            found = PROXIES[name](apply, variables["params"], images, None)
            assert float(found) == row[name]


def broken(apply, params, images, labels):
    """A proxy with a mistake in it."""
    return params["no_such_layer"]


def per_class(apply, params, images, labels):
    """A proxy that returns more than one number."""
    return apply(params, images).sum(0)


@pytest.mark.parametrize(
    "proxy, reason",
    [
        ("broken", "KeyError: 'no_such_layer'"),
        ("per_class", r"ValueError: a score of shape \(3,\)"),
    ],
)
def test_what_a_proxy_of_ones_own_raises_is_one_line(proxy, reason, monkeypatch):
    monkeypatch.setitem(sys.modules, "own_proxies", sys.modules[__name__])
    with pytest.raises(UserError, match=rf"^proxy: got 'own_proxies:{proxy}', .*{reason}") as found:
        measure(apply, [f"own_proxies:{proxy}"], some_params(), *batch())
    assert "\n" not in str(found.value)


def test_a_proxy_of_ones_own_and_one_that_there_is_not():
    images, labels = batch()
    own = "experiments.studies.proxies.scores:snip"
    found = measure(apply, ["snip", own], some_params(), images, labels)
    assert found["snip"] == found[own] > 0
    with pytest.raises(UserError, match="proxy: got 'magic'"):
        measure(apply, ["magic"], some_params(), images, labels)
    with pytest.raises(UserError, match="proxy: got 'nwot'"):
        scores(LeNet300(), ["nwot"], images, labels)
