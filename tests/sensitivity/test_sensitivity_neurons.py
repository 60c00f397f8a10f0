"""Sensitivity of neurons, against derivatives by what is added to them, written out plainly."""

import functools

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpnas.sensitivity import neurons

assert_close = functools.partial(chex.assert_trees_all_close, rtol=1e-4, atol=1e-6)


def dense_chain(params, x, added):
    """Logits of one image, and what goes into each activation."""
    inside = {}
    for name, layer in params.items():
        inside[name] = x @ layer["kernel"] + layer["bias"] + added[name]
        x = jax.nn.relu(inside[name])
    return inside[name], inside


def convolution(layer, x, stride):
    """Of one image (height, width, inputs), "SAME"."""
    axes = ("NHWC", "HWIO", "NHWC")
    found = jax.lax.conv_general_dilated(
        x[None], layer["kernel"], (stride, stride), "SAME", dimension_numbers=axes
    )
    return found[0] + layer["bias"][None, None]


def convolutions(params, x, added):
    """As `dense_chain`, for two convolutions and a dense layer."""
    inside = {}
    for name, stride in ("Conv_0", 1), ("Conv_1", 2):
        inside[name] = convolution(params[name], x, stride) + added[name]
        x = jax.nn.relu(inside[name])
    logits, last = dense_chain({"Dense_0": params["Dense_0"]}, x.reshape(-1), added)
    return logits, inside | last


@pytest.fixture
def plain(net):
    """`(params, image, added) → (logits, pre-activations)` of a network, without Flax."""
    return convolutions if "Conv_0" in net.params else dense_chain


@pytest.fixture
def inside(net, plain):
    """Pre-activations: (batch, …, neurons) by layer."""
    nothing = dict.fromkeys(net.params, jnp.float32(0))
    return jax.jit(jax.vmap(lambda x: plain(net.params, x, nothing)[1]))(net.images)


@pytest.fixture
def jacobian(net, plain, inside):
    """∂y_k/∂p_i of each image by itself: (batch, classes, …, neurons) by layer."""
    zeros = jax.tree.map(lambda p: jnp.zeros(p.shape[1:]), inside)
    of = jax.jacrev(lambda added, x: plain(net.params, x, added)[0])
    return jax.tree.map(np.asarray, jax.jit(jax.vmap(lambda x: of(zeros, x)))(net.images))


def per_neuron(layers):
    """`{path: (neurons,)}`, means over images and places."""
    return {f"{n}/kernel": np.mean(x, tuple(range(x.ndim - 1))) for n, x in layers.items()}


@pytest.mark.slow
def test_pre_activations(net, inside):
    found = net.look(neurons.pre_activations)
    assert list(found) == neurons.kernel_paths(net.params)
    assert_close(found, {f"{name}/kernel": x for name, x in inside.items()})


@pytest.mark.slow
def test_exact(net, jacobian):
    expected = per_neuron({name: abs(j).mean(1) for name, j in jacobian.items()})
    assert_close(net.look(neurons.exact), expected)
    assert len({s.size for s in expected.values()}) == len(expected)  # no two layers alike


def test_lower_bound(net, jacobian):
    expected = per_neuron({name: abs(j.mean(1)) for name, j in jacobian.items()})
    assert_close(net.look(neurons.lower_bound), expected)


@pytest.mark.parametrize("kind", [neurons.exact, neurons.lower_bound])
def test_sums_over_positions(net, jacobian, kind):
    """A filter has the sum of what its positions have; the batch is averaged, and units are one
    position."""
    classes = 1  # axis
    each = {
        name: abs(j).mean(classes) if kind is neurons.exact else abs(j.mean(classes))
        for name, j in jacobian.items()
    }
    expected = {
        f"{name}/kernel": s.mean(0).reshape(-1, s.shape[-1]).sum(0) for name, s in each.items()
    }
    assert_close(net.look(functools.partial(kind, positions="sum")), expected)


def test_filters_have_a_lower_bound_each(convnet):
    """Not that of channel 0 for all."""
    found = convnet.look(neurons.lower_bound)
    for path, filters in ("Conv_0/kernel", 3), ("Conv_1/kernel", 4):
        assert len(set(found[path].tolist())) == filters == found[path].size


def test_upper_bound(mlp):
    net = mlp()
    one, two, three = (np.abs(layer["kernel"]) for layer in net.params.values())
    outputs = np.full(three.shape[1], 1 / three.shape[1], np.float32)
    expected = [two @ three @ outputs, three @ outputs, outputs]
    assert one.shape[1] == expected[0].size
    found = net.look(neurons.upper_bound)
    assert list(found) == neurons.kernel_paths(net.params)
    assert_close(list(found.values()), expected)


class Misnamed(nn.Module):
    """Layers whose names are not in the order of the calls; square, so that either would fit."""

    @nn.compact
    def __call__(self, x):
        return nn.Dense(4, name="a")(nn.relu(nn.Dense(4, name="b")(x)))


def test_the_upper_bound_goes_by_calls_not_by_names(mlp, forward_of):
    net = mlp()
    module = Misnamed()
    params = module.init(jax.random.key(0), net.images)["params"]
    found = neurons.upper_bound(forward_of(module, net.images, net.labels), params)
    np.testing.assert_allclose(found["a/kernel"], 1 / 4)
    np.testing.assert_allclose(found["b/kernel"], np.abs(params["a"]["kernel"]).mean(1), rtol=1e-5)


def test_convolutions_have_no_upper_bound(convnet):
    with pytest.raises(ValueError, match=r"upper_bound: got .* allowed: dense chains"):
        convnet.look(neurons.upper_bound)


@functools.cache
def compiled(module, shape, forward_of, upper):
    """`(seed, scale) → exact, lower bound, upper bound` of a random network on random images."""

    @jax.jit
    def bounds(seed, scale):
        one, two = jax.random.split(jax.random.key(seed))
        images = jax.random.normal(one, (3, *shape))
        params = module.init(two, images)["params"]
        params = jax.tree.map(lambda p: scale * p, params)
        forward = forward_of(module, images, jnp.zeros(3, int))
        above = neurons.upper_bound(forward, params) if upper else {}
        return neurons.exact(forward, params), neurons.lower_bound(forward, params), above

    return bounds


def assert_below(smaller, larger):
    for path, s in smaller.items():
        # 1 - tanh² is rounded to multiples of 6e-8, and weights are up to 20 or so.
        np.testing.assert_array_less(s, np.asarray(larger[path]) * (1 + 1e-5) + 2e-6)


random_network = st.integers(0, 10**6), st.sampled_from([0.05, 0.5, 1.0, 2.0, 8.0])


@pytest.mark.slow
@given(*random_network)
@pytest.mark.parametrize(
    ("widths", "activation"), [((5,), nn.relu), ((6, 3), nn.tanh), ((8, 4, 5, 1), nn.relu)]
)
def test_bounds_of_dense_chains(mlp, forward_of, widths, activation, seed, scale):
    module = mlp(widths, activation).module
    exact, lower, upper = compiled(module, (4,), forward_of, True)(seed, scale)
    assert exact.keys() == lower.keys() == upper.keys()
    assert_below(lower, exact)
    assert_below(exact, upper)
    if widths[-1] == 1:  # of a single output the lower bound is exact
        assert_close(lower, exact)


@pytest.mark.slow
@given(*random_network)
def test_lower_bound_of_convolutions(convnet, forward_of, seed, scale):
    shape = convnet.images.shape[1:]
    exact, lower, _ = compiled(convnet.module, shape, forward_of, False)(seed, scale)
    assert_below(lower, exact)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [neurons.exact, neurons.lower_bound, neurons.local])
def test_it_does_not_depend_on_how_many_images_there_are(kind, net):
    one = net._replace(images=net.images[:1], labels=net.labels[:1])
    many = one._replace(images=jnp.tile(one.images, (6, *(1,) * (net.images.ndim - 1))))
    assert_close(many.look(kind), one.look(kind))


@pytest.mark.slow
@pytest.mark.parametrize("kind", [neurons.exact, neurons.lower_bound, neurons.local])
def test_devices_agree_with_one(kind, net, on_devices):
    whole = net.look(kind)
    assert_close(on_devices(kind, net, 2), jax.tree.map(lambda x: jnp.stack([x, x]), whole))


def test_local_is_the_sign_of_the_mean(net, inside):
    found = net.look(neurons.local)
    expected = {path: np.float32(x > 0) for path, x in per_neuron(inside).items()}
    chex.assert_trees_all_equal(found, expected)
    assert {float(x) for s in found.values() for x in s} == {0.0, 1.0}


def test_on_incoming(net):
    """Weights get the sensitivity of where they lead to; biases do not shrink."""
    found = net.look(neurons.on_incoming(neurons.exact), None)
    exact = net.look(neurons.exact)
    assert jax.tree.structure(found) == jax.tree.structure(net.params)
    for name, layer in found.items():
        np.testing.assert_allclose(layer["kernel"], exact[f"{name}/kernel"], rtol=1e-6)
        assert layer["bias"] == jnp.inf


@pytest.mark.slow
def test_adding_nothing_changes_nothing(net):
    forward = net.forward
    zeros = jax.tree.map(jnp.zeros_like, net.look(neurons.pre_activations))
    untouched = forward.logits(net.params)[0]
    seen = {}
    for intercept in (neurons.tap({}), neurons.tap(zeros), neurons.tap({}, seen)):
        np.testing.assert_array_equal(forward.logits(net.params, intercept)[0], untouched)
    assert sorted(seen) == sorted(neurons.kernel_paths(net.params))


def test_what_is_added_is_as_a_bias(net):
    name = next(iter(net.params))
    added = jnp.arange(1.0, 1 + net.params[name]["bias"].size)
    added_to = net.look(neurons.pre_activations)[f"{name}/kernel"]
    tap = neurons.tap({f"{name}/kernel": jnp.broadcast_to(added, added_to.shape)})
    layer = net.params[name] | {"bias": net.params[name]["bias"] + added}
    found = net.forward.logits(net.params, tap)[0]
    expected = net.forward.logits(net.params | {name: layer})[0]
    assert_close(found, expected, rtol=1e-3)
    assert not np.allclose(found, net.forward.logits(net.params)[0], atol=0.1)
