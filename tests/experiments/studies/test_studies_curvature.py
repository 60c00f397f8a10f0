"""The sharpest direction, against all the eigenvalues of small Hessians."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree

from experiments.studies.curves.analyses import largest_eigenvalue

KEY = jax.random.key(0)


@pytest.mark.slow
@pytest.mark.parametrize("spectrum", [(4, 1, 0.5, -2, 0), (-5, 3, 2, 0.1, 1), (0, 0, 0, 0, 0)])
def test_a_quadratic(spectrum):
    basis = np.linalg.qr(np.random.default_rng(0).normal(size=(5, 5)))[0]
    matrix = jnp.float32(basis * np.array(spectrum) @ basis.T)

    def loss(params):
        x = jnp.concatenate([params["a"].reshape(-1), params["b"]])
        return 0.5 * x @ matrix @ x

    params = {"a": jnp.ones((2, 2)), "b": jnp.zeros(1)}
    found = jax.jit(lambda key: largest_eigenvalue(loss, params, key))(KEY)
    assert found.shape == () and found.dtype == jnp.float32
    np.testing.assert_allclose(found, max(spectrum, key=abs), atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("scale", [0.3, 3.0])
def test_a_network(scale):
    rng = np.random.default_rng(1)
    x, labels = jnp.float32(rng.normal(size=(20, 4))), rng.integers(5, size=20)
    shapes = {"a": (4, 3), "b": (3,), "c": (3, 5)}
    params = {name: jnp.float32(scale * rng.normal(size=n)) for name, n in shapes.items()}
    flat, unravel = ravel_pytree(params)

    def loss(params):
        logits = jnp.tanh(x @ params["a"] + params["b"]) @ params["c"]
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    hessian = jax.jit(jax.hessian(lambda x: loss(unravel(x))))(flat)
    spectrum = np.linalg.eigh(np.float64(hessian))[0]
    expected = max(spectrum, key=abs)
    found = jax.jit(lambda key: largest_eigenvalue(loss, params, key, steps=300))(KEY)
    np.testing.assert_allclose(found, expected, rtol=1e-3)


def test_more_steps_come_closer():
    spectrum = jnp.array([1.0, 0.97, -0.9])

    @jax.jit
    def gap(steps):
        return 1 - largest_eigenvalue(lambda x: 0.5 * spectrum @ x**2, jnp.ones(3), KEY, steps)

    gaps = [gap(steps) for steps in (1, 20, 300)]
    assert gaps[0] > gaps[1] > gaps[2] and gaps[2] < 1e-4
