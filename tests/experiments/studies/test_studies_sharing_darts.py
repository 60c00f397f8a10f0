"""First-order DARTS: the gradient of α, the order of its steps, and what is made of α."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from experiments.studies.sharing.darts import Darts, alpha_gradient, discretise, make_darts
from experiments.studies.sharing.shared import Recipe
from gpnas.models import cell201
from tests.supernets import make_small, make_tiny


@pytest.fixture(scope="module")
def tiny(digits):
    return make_tiny(digits)


@pytest.fixture(scope="module")
def small(digits, one_stage):
    return make_small(digits)


@pytest.fixture(scope="module")
def alpha():
    return jnp.asarray(
        np.random.default_rng(0).normal(size=(6, len(cell201.OPERATIONS))), jnp.float32
    )


@pytest.fixture(scope="module")
def slope(small, alpha):
    row = small.rows[0]
    return slope_of(small, alpha, row)


def slope_of(net, alpha, row):
    gradient = jax.jit(lambda *args: alpha_gradient(net.supernet, *args))
    return gradient(net.begin.params, alpha, net.held, row)


@pytest.mark.exhaustive
def test_alphas_gradient_is_the_losss_by_hand(small, alpha, slope):
    images, labels = small.held.images[small.rows[0]], small.held.labels[small.rows[0]]

    @jax.jit
    def loss(mix):
        logits = small.supernet.apply({"params": small.begin.params}, images, mix)
        return -jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], 1).mean()

    mix = np.asarray(jax.nn.softmax(alpha))
    inner = np.asarray(jax.grad(loss)(mix))
    by_hand = mix * (inner - (mix * inner).sum(1, keepdims=True))  # through the softmax
    np.testing.assert_allclose(slope, by_hand, rtol=1e-3, atol=1e-6)
    assert (np.abs(by_hand) > 1e-6).any(1).all()


@pytest.mark.slow
def test_a_turn_is_a_step_of_alpha_and_then_one_of_the_weights(tiny, alpha):
    settings, recipe = Darts(learning_rate=0.01), Recipe(momentum=0.0, weight_decay=0.0)
    begin, train = make_darts(tiny.supernet, recipe, settings)
    start = begin(tiny.begin, jax.random.key(0))._replace(alpha=alpha)
    row, own = tiny.rows[1:2], tiny.rows[:1]
    end = train(jax.tree.map(jnp.copy, start), tiny.held, tiny.held, row, own, 1)
    slope = slope_of(tiny, alpha, own[0])
    # The first step of Adam is by the sign alone.
    expected = alpha - 0.01 * jnp.sign(slope + settings.weight_decay * alpha)
    np.testing.assert_allclose(end.alpha, expected, atol=1e-4)

    def loss(params):
        logits = tiny.supernet.apply(
            {"params": params}, tiny.held.images[row[0]], jax.nn.softmax(end.alpha)
        )
        return optax.softmax_cross_entropy_with_integer_labels(
            logits, tiny.held.labels[row[0]]
        ).mean()

    grads = jax.jit(jax.grad(loss))(tiny.begin.params)
    norm = optax.tree.norm(grads)
    rate = recipe.learning_rate * min(1.0, recipe.clip / float(norm))
    moved = jax.tree.map(lambda p, g: p - rate * g, tiny.begin.params, grads)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), end.shared.params, moved)
    assert int(end.shared.step) == 1


def test_the_largest_weight_but_none_is_taken():
    alpha = np.zeros((6, len(cell201.OPERATIONS)))
    alpha[:, cell201.OPERATIONS.index("none")] = 9
    alpha[range(6), [1, 2, 3, 4, 3, 2]] = 1
    assert discretise(alpha) == ("skip", "conv1", "conv3", "pool3", "conv3", "conv1")
    assert discretise(alpha, without=()) == ("none",) * 6
