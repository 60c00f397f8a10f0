"""Sensitivity of weights, against one gradient after the other."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gpnas.sensitivity import shrink, weights

assert_close = functools.partial(chex.assert_trees_all_close, rtol=1e-4, atol=1e-6)


def logits(net, params, images):
    return net.module.apply({"params": params}, images)


def mean(trees):
    return jax.tree.map(lambda *leaves: np.mean(leaves, 0), *trees)


def absolute(tree):
    return jax.tree.map(np.abs, tree)


@pytest.mark.slow
def test_unspecified_is_the_mean_over_all_outputs(net):
    gradient = jax.jit(jax.grad(lambda params, k: logits(net, params, net.images)[:, k].mean()))
    classes = logits(net, net.params, net.images).shape[-1]
    expected = mean([absolute(gradient(net.params, k)) for k in range(classes)])
    assert_close(net.look(weights.unspecified), expected)


@pytest.mark.slow
def test_unspecified_per_example_takes_absolute_values_before_the_mean(mlp):
    mlp = mlp()
    gradient = jax.jit(jax.grad(lambda params, x, k: logits(mlp, params, x[None])[0, k]))
    classes = logits(mlp, mlp.params, mlp.images).shape[-1]
    each = [absolute(gradient(mlp.params, x, k)) for x in mlp.images for k in range(classes)]
    found = mlp.look(weights.unspecified_per_example)
    assert_close(found, mean(each))
    less = mlp.look(weights.unspecified)
    assert all(jax.tree.leaves(jax.tree.map(lambda a, b: bool((a >= b - 1e-6).all()), found, less)))


def test_unspecified_per_example_refuses_convolutions(convnet):
    with pytest.raises(ValueError, match="unspecified_per_example: got Conv_0/.*dense layers"):
        weights.unspecified_per_example(convnet.forward, convnet.params)


@pytest.mark.slow
def test_specified_is_of_the_class_of_each_image(net):
    gradient = jax.jit(jax.grad(lambda params, x, k: logits(net, params, x[None])[0, k]))
    each = [gradient(net.params, x, k) for x, k in zip(net.images, net.labels, strict=True)]
    assert_close(net.look(weights.specified), absolute(mean(each)))


def test_of_loss_is_the_size_of_the_gradient(net):
    grads = net.look(lambda forward, params: jax.grad(lambda p: forward.loss(p)[0])(params))
    found = weights.of_loss(net.forward, net.params, grads)
    chex.assert_trees_all_equal(found, absolute(grads))
    assert any((np.array(g) < 0).any() for g in jax.tree.leaves(grads))


def test_biases_are_included(net):
    last = list(net.params)[-1]  # an output changes as much as its own bias
    classes = net.params[last]["bias"].size
    unspecified = net.look(weights.unspecified)
    np.testing.assert_allclose(unspecified[last]["bias"], 1 / classes, rtol=1e-5)
    specified = net.look(weights.specified)
    shares = np.bincount(net.labels, minlength=classes) / net.labels.size
    np.testing.assert_allclose(specified[last]["bias"], shares, atol=1e-6)
    assert all(np.array(layer["bias"]).any() for layer in unspecified.values())


@pytest.mark.slow
@pytest.mark.parametrize("kind", [weights.unspecified, weights.specified])
def test_devices_agree_with_one(kind, net, on_devices):
    whole = net.look(kind)
    assert_close(on_devices(kind, net, 2), jax.tree.map(lambda x: jnp.stack([x, x]), whole))


@pytest.mark.slow
def test_specified_asks_for_labels(net):
    unlabelled = net.forward._replace(labels=None)
    assert weights.unspecified(unlabelled, net.params)
    with pytest.raises(ValueError, match="specified: got no labels"):
        weights.specified(unlabelled, net.params)


@pytest.mark.slow
def test_the_decay_of_half_precision_weights_is_that_of_float32():
    decay = shrink(1e-4, weights.of_loss)
    found = []
    for dtype in (jnp.float16, jnp.float32):
        params = {"w": jnp.array([1.0, 300.0, 1e-3], dtype)}
        grads = {"w": jnp.array([0.5, 1e-4, 2.0], dtype)}
        updates = {"w": jnp.array([-1e-4, 0.5, 1e-4], dtype)}
        state = decay.init(params)
        new, _ = decay.update(updates, state, params, forward=None, dense_grads=grads)
        assert new["w"].dtype == dtype
        found.append(new)
    chex.assert_trees_all_close(
        found[0], jax.tree.map(lambda x: x.astype(jnp.float16), found[1]), rtol=2e-3
    )
