"""Entropy of the states of neurons, against a loop over the classes."""

import jax.numpy as jnp
import numpy as np
import pytest

from gpnas.sensitivity.entropy import state_entropy

LABELS = np.array([0, 0, 0, 0, 1, 1, 2, 2, 2, 2])
CLASSES = 4  # the last one has no images


def plainly(x, labels, classes):
    total = np.zeros(x.shape[-1])
    for c in range(classes):
        on = (x[labels == c] > 0).reshape(-1, x.shape[-1])
        p = np.clip(on.mean(0) if len(on) else np.zeros(x.shape[-1]), 1e-4, 1 - 1e-4)
        total -= p * np.log2(p) + (1 - p) * np.log2(1 - p)
    return total


@pytest.mark.slow
@pytest.mark.parametrize("places", [(), (3,), (2, 5)])
@pytest.mark.parametrize("classes", [3, CLASSES])
def test_against_a_loop(places, classes):
    x = np.float32(np.random.default_rng(0).normal(0.3, 1, (10, *places, 6)))
    found = state_entropy({"a": jnp.array(x), "b": -jnp.array(x)}, jnp.array(LABELS), classes)
    assert found.keys() == {"a", "b"}
    for path, sign in ("a", 1), ("b", -1):
        assert found[path].shape == (6,)
        np.testing.assert_allclose(found[path], plainly(sign * x, LABELS, classes), atol=1e-5)


def test_by_hand():
    """Always on, always at zero (off), on in half of each class, on for one class alone."""
    half = np.array([1, -1, 1, -1, 1, -1, 1, -1, 1, -1.0])
    x = np.stack([np.ones(10), np.zeros(10), half, np.where(LABELS == 1, 5.0, -5.0)], 1)
    found = state_entropy({"a": jnp.float32(x)}, jnp.array(LABELS), 3)["a"]
    edge = -(1e-4 * np.log2(1e-4) + (1 - 1e-4) * np.log2(1 - 1e-4))
    np.testing.assert_allclose(found, [3 * edge, 3 * edge, 3, 3 * edge], rtol=1e-3)


def test_a_class_without_images_counts_as_off():
    x = {"a": jnp.float32(np.random.default_rng(1).normal(size=(10, 3)))}
    gap = state_entropy(x, jnp.array(LABELS), 4)["a"] - state_entropy(x, jnp.array(LABELS), 3)["a"]
    np.testing.assert_allclose(gap, 0.00147, atol=2e-5)


def test_the_constant_is_lowest_and_the_random_highest():
    rng = np.random.default_rng(2)
    labels = rng.integers(0, 10, 2000)
    by_class = rng.normal(size=(10, 30))[labels]  # neurons that know the class, more or less
    x = by_class * np.linspace(0.1, 3, 30) + rng.normal(size=(2000, 30))
    x = np.concatenate([np.full((2000, 1), 0.2), x, rng.normal(size=(2000, 1))], 1)
    found = np.array(state_entropy({"a": jnp.float32(x)}, jnp.array(labels), 10)["a"])
    assert found.argmin() == 0 and found.argmax() == 31
    assert found[0] < 0.02 and found[-1] > 9.9


def test_it_asks_for_labels():
    with pytest.raises(ValueError, match="state_entropy: got no labels"):
        state_entropy({"a": jnp.zeros((2, 3))}, None, CLASSES)
