"""A compacted network is trained on, with live batch norm, saved and loaded again."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import serialization

from gpnas import units
from gpnas.errors import UserError

pytestmark = pytest.mark.usefixtures("lenient")


class Net(nn.Module):
    @nn.compact
    def __call__(self, images, train=False):
        x = nn.Conv(8, (3, 3))(images)
        x = nn.relu(nn.BatchNorm(use_running_average=not train, momentum=0.9)(x))
        return nn.Dense(4)(x.mean((1, 2)))


IMAGES = jax.random.normal(jax.random.key(0), (16, 6, 6, 2))
LABELS = jnp.arange(16) % 4
VARIABLES = Net().init(jax.random.key(1), IMAGES)
INFER = functools.partial(Net().apply, train=False)
TRAIN = functools.partial(Net().apply, train=True, mutable=["batch_stats"])
GROUPS = units.discover(INFER, VARIABLES, IMAGES)
(GROUP,) = GROUPS.groups
MASKS = {GROUP.name: np.arange(8) % 2 == 0}


@pytest.fixture(scope="module")
def compacted():
    train, small = units.compact(TRAIN, VARIABLES, GROUPS, MASKS, IMAGES, updates=True)
    infer, same = units.compact(INFER, VARIABLES, GROUPS, MASKS, IMAGES)
    jax.tree.map(np.testing.assert_array_equal, small, same)
    return train, infer, small


@pytest.mark.slow
def test_it_computes_what_the_masked_network_does_in_training(compacted):
    train, _, small = compacted
    masked = jax.tree.map(jnp.multiply, VARIABLES, units.weight_masks(GROUPS, MASKS, VARIABLES))
    logits, new = train(small, IMAGES)
    expected, wide = TRAIN(masked, IMAGES)
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)
    for found, whole in zip(jax.tree.leaves(new), jax.tree.leaves(wide), strict=True):
        np.testing.assert_allclose(found, whole[::2], rtol=1e-4, atol=1e-5)


def test_it_is_trained_on_saved_and_loaded(compacted):
    train, infer, small = compacted
    tx = optax.sgd(0.1, momentum=0.9)
    params, stats = small["params"], small["batch_stats"]

    @jax.jit
    def step(params, stats, moments):
        def loss(params):
            logits, new = train({"params": params, "batch_stats": stats}, IMAGES)
            nats = optax.softmax_cross_entropy_with_integer_labels(logits, LABELS).mean()
            return nats, new["batch_stats"]

        (nats, stats), grads = jax.value_and_grad(loss, has_aux=True)(params)
        updates, moments = tx.update(grads, moments, params)
        return optax.apply_updates(params, updates), stats, moments, nats

    moments, losses = tx.init(params), []
    for _ in range(30):
        params, stats, moments, nats = step(params, stats, moments)
        losses.append(float(nats))
    assert losses[-1] < 0.95 * losses[0]
    moved = jax.tree.map(lambda a, b: float(jnp.abs(a - b).max()), stats, small["batch_stats"])
    assert min(jax.tree.leaves(moved)) > 1e-3
    trained = {"params": params, "batch_stats": stats}
    loaded = serialization.from_bytes(small, serialization.to_bytes(trained))
    jax.tree.map(np.testing.assert_array_equal, loaded, trained)
    np.testing.assert_array_equal(infer(loaded, IMAGES), infer(trained, IMAGES))


def test_updates_of_what_is_no_variable_are_refused():
    def apply(variables, images):
        return INFER(variables, images), {"other": jnp.zeros(3)}

    with pytest.raises(UserError, match="updates: got 'other', allowed: a leaf of the variables"):
        units.compact(apply, VARIABLES, GROUPS, MASKS, IMAGES, updates=True)
