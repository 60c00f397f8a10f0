"""Binary gates: the ARM gradient against the exact one, and the network at both ends."""

import itertools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gpnas.gates import Forward, GateContext, binary, groups
from gpnas.masks import init_masks, masked_leaves, schedule, tree

pytestmark = pytest.mark.usefixtures("strict")

KEY = jax.random.key(0)
FIRST, LAST = "Dense_0/kernel", "Dense_1/kernel"
IMAGES, DRAWS = 40, 20_000


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


class Net(nn.Module):
    """Two inputs, one hidden unit: three gates."""

    @nn.compact
    def __call__(self, x):
        x = jnp.tanh(nn.Dense(1)(x))
        return nn.Dense(3)(x)


PARAMS = {
    "Dense_0": {"kernel": 2 * normal(0, 2, 1), "bias": normal(1, 1)},
    "Dense_1": {"kernel": 3 * normal(2, 1, 3), "bias": normal(3, 3)},
}
MASKS = init_masks(PARAMS)
WEIGHTS = masked_leaves(MASKS, PARAMS)
GATES = {FIRST: np.float32([0.3, -0.5]), LAST: np.float32([0.4])}
NOTHING = Forward(*[lambda params, intercept=None: (jnp.float32(0), ())] * 2, np.zeros(1, int))


@pytest.fixture(scope="module")
def batch(forward):
    return forward(Net(), normal(4, 8, 2), np.array([0, 1, 2, 0, 1, 2, 0, 1]))


def gates_of(k, **settings):
    penalties = settings.pop("penalties", (0.0,))
    return binary.bernoulli(penalties, schedule.constant(k), IMAGES, **settings)


def context(key=KEY, step=0):
    return GateContext(jnp.int32(step), MASKS, key)


def closed(z):
    """The parameters with these gates: {path: 0 or 1 of each input unit}."""
    return {
        layer: {**PARAMS[layer], "kernel": PARAMS[layer]["kernel"] * z[f"{layer}/kernel"][:, None]}
        for layer in PARAMS
    }


def drawn(key, k, gates=GATES):
    """1[u < π] of a key."""
    keys = tree.keys_for(key, gates)
    return {
        p: np.float32(jax.random.uniform(keys[p], g.shape) < jax.nn.sigmoid(k * g))
        for p, g in gates.items()
    }


def expected_loss(batch, gates, k):
    """The mean over all ways in which gates can be open."""
    total = 0.0
    for bits in itertools.product((0.0, 1.0), repeat=3):
        z = {FIRST: jnp.float32(bits[:2]), LAST: jnp.float32(bits[2:])}
        chance = jnp.float32(1)
        for path, gate in gates.items():
            pi = jax.nn.sigmoid(k * gate)
            chance *= jnp.prod(z[path] * pi + (1 - z[path]) * (1 - pi))
        total += chance * batch.loss(closed(z))[0]
    return total


@pytest.mark.slow
@pytest.mark.parametrize("k", [1.0, 3.0])
def test_the_gradient_is_unbiased(k, batch):
    method = gates_of(k)

    def one(key):
        def value(gates):
            return method.loss(batch, PARAMS, gates, context(key))[0]

        return jax.value_and_grad(value)(GATES)

    losses, grads = jax.jit(jax.vmap(one))(jax.random.split(KEY, DRAWS))
    value, exact = jax.value_and_grad(lambda g: expected_loss(batch, g, k))(GATES)
    assert abs(losses.mean() - value) < 5 * losses.std() / np.sqrt(DRAWS)
    for path, found in grads.items():
        error = np.std(found, 0) / np.sqrt(DRAWS)
        assert (np.abs(np.mean(found, 0) - exact[path]) < 5 * error).all()
        assert (np.abs(exact[path]) > 10 * error).any()  # it could have been told from zero


@pytest.mark.slow
def test_each_gradient_is_the_formula(batch):
    k, method = 2.0, gates_of(2.0)
    for seed in range(5):
        key = jax.random.key(seed)
        keys = tree.keys_for(key, GATES)
        value = jax.grad(lambda g, key=key: method.loss(batch, PARAMS, g, context(key))[0])(GATES)
        z = drawn(key, k)
        mirrored = {
            p: np.float32(jax.random.uniform(keys[p], g.shape) > jax.nn.sigmoid(-k * g))
            for p, g in GATES.items()
        }
        gap = batch.loss(closed(mirrored))[0] - batch.loss(closed(z))[0]
        for path, found in value.items():
            u = jax.random.uniform(keys[path], found.shape)
            np.testing.assert_allclose(found, k * gap * (u - 0.5), rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_weights_learn_from_the_gates_that_were_drawn(batch):
    method, k, seen = gates_of(2.0), 2.0, set()
    for seed in range(6):
        key = jax.random.key(seed)
        found, out = jax.grad(
            lambda params, key=key: method.loss(batch, params, GATES, context(key)), has_aux=True
        )(PARAMS)
        z = drawn(key, k)
        grads = jax.grad(lambda params: batch.loss(params)[0])(closed(z))
        for layer, grad in grads.items():
            kernel = grad["kernel"] * z[f"{layer}/kernel"][:, None]
            np.testing.assert_allclose(found[layer]["kernel"], kernel, rtol=1e-5, atol=1e-7)
            np.testing.assert_allclose(found[layer]["bias"], grad["bias"], rtol=1e-5, atol=1e-7)
        assert out == "out"
        seen.add(tuple(np.concatenate([*z.values()])))
    assert len(seen) > 2


@pytest.mark.parametrize("penalties", [(0.3,), (0.3, 0.8)])
def test_the_price_is_exact(penalties):
    k, decay = 2.0, 0.1
    method = gates_of(k, penalties=penalties, decay=decay)

    def value(params, gates):
        return method.loss(NOTHING, params, gates, context())[0]

    found, (by_weight, by_gate) = jax.value_and_grad(value, (0, 1))(PARAMS, GATES)
    total = 0.0
    for path, price, size in ((FIRST, penalties[0], 1), (LAST, penalties[-1], 3)):
        w, pi = np.float64(WEIGHTS[path]), 1 / (1 + np.exp(-k * np.float64(GATES[path])))
        total += (pi * (price * size + 0.5 * decay * (w**2).sum(1))).sum()
        slope = price * size * k * pi * (1 - pi) / IMAGES  # and none of the decay
        np.testing.assert_allclose(by_gate[path], slope, rtol=1e-4)
        kernel = masked_leaves(MASKS, by_weight)[path]
        np.testing.assert_allclose(kernel, decay * pi[:, None] * w / IMAGES, rtol=1e-4)
    assert float(found) == pytest.approx(total / IMAGES, rel=1e-5)


def test_sure_gates_are_hard_and_do_not_learn(batch):
    method = gates_of(5000.0, penalties=(0.3,))
    hard = {p: np.float32(g > 0) for p, g in GATES.items()}
    sizes = {FIRST: 1, LAST: 3}
    price = 0.3 * sum(sizes[p] * z.sum() for p, z in hard.items()) / IMAGES
    for seed in range(5):
        ctx = context(jax.random.key(seed))
        value, grads = jax.value_and_grad(lambda g, ctx=ctx: method.loss(batch, PARAMS, g, ctx)[0])(
            GATES
        )
        assert float(value) == pytest.approx(float(batch.loss(closed(hard))[0]) + price, rel=1e-5)
        assert all((g == 0).all() for g in grads.values())
    network = method.network(PARAMS, GATES, MASKS, jnp.int32(0))
    for path, kernel in masked_leaves(MASKS, network).items():
        np.testing.assert_array_equal(kernel, masked_leaves(MASKS, closed(hard))[path])


def test_the_sharpness_is_that_of_the_step(batch):
    method = binary.bernoulli((0.0,), lambda step: jnp.where(step < 5, 2.0, 5000.0), IMAGES)

    def learns(step, seed):
        ctx = context(jax.random.key(seed), step)
        grads = jax.grad(lambda g: method.loss(batch, PARAMS, g, ctx)[0])(GATES)
        return any((g != 0).any() for g in grads.values())

    assert any(learns(4, seed) for seed in range(5))
    assert not any(learns(5, seed) for seed in range(5))


def test_gates_that_do_not_learn_need_no_second_pass(batch):
    passes = []

    def loss(params, intercept=None):
        jax.debug.callback(lambda: passes.append(params))
        return batch.loss(params, intercept)

    method = gates_of(2.0, learn=lambda step: step >= 5)
    for step, expected in ((4, 1), (5, 2)):
        passes.clear()
        ctx = context(step=step)
        jax.grad(lambda g, ctx=ctx: method.loss(batch._replace(loss=loss), PARAMS, g, ctx)[0])(
            GATES
        )
        jax.effects_barrier()
        assert len(passes) == expected


def test_the_first_units_are_in_use():
    params = {f"Dense_{i}": {"kernel": normal(i, 4, 4)} for i in range(3)}
    masks = init_masks(params)
    method = gates_of(7.0, first=3, grouping=groups.hidden_units())
    gates = method.init(masks, params, KEY)
    assert list(gates) == ["Dense_0/kernel", "Dense_1/kernel"]
    network = method.network(params, gates, masks, jnp.int32(0))
    living = binary.nonzero_at_test(groups.hidden_units())(masked_leaves(masks, params), gates)
    for path, kernel in masked_leaves(masks, network).items():
        before = masked_leaves(masks, params)[path]
        if path in gates:
            np.testing.assert_allclose(gates[path], np.float32([3, 3, 3, -40]) / 7)
            assert living[path].ravel().tolist() == [True, True, True, False]
            assert (kernel[:, 3:] == 0).all()
            np.testing.assert_allclose(kernel[:, :3], before[:, :3] / (1 + np.exp(-3)), rtol=1e-5)
        else:
            np.testing.assert_array_equal(kernel, before)
    everything = gates_of(7.0).init(masks, params, KEY)
    assert all((g == np.float32(3 / 7)).all() for g in everything.values())
    assert all(g.dtype == jnp.float32 and not g.weak_type for g in (gates | everything).values())


def test_the_network_at_test():
    gates = {FIRST: np.float32([0.2, -0.01]), LAST: np.float32([0.0])}
    method = gates_of(3.0)
    network = masked_leaves(MASKS, method.network(PARAMS, gates, MASKS, jnp.int32(0)))
    factors = {FIRST: [[1 / (1 + np.exp(-0.6))], [0.0]], LAST: [[0.5]]}
    living = binary.nonzero_at_test()(WEIGHTS, gates)
    assert not method.masked
    for path, factor in factors.items():
        np.testing.assert_allclose(network[path], WEIGHTS[path] * np.float32(factor), rtol=1e-5)
        np.testing.assert_array_equal(living[path], np.float32(factor) > 0)


def test_a_price_for_each_layer_also_where_the_last_has_no_gate():
    """The values are of the layers of the network, as a method's settings have them."""
    params = {f"Dense_{i}": {"kernel": normal(i, 4, 4)} for i in range(3)}
    masks = init_masks(params)
    ctx = GateContext(jnp.int32(0), masks, KEY)

    def loss(*penalties):
        method = gates_of(1.0, penalties=penalties, grouping=groups.hidden_units())
        return float(method.loss(NOTHING, params, method.init(masks, params, KEY), ctx)[0])

    pi = 1 / (1 + np.exp(-3 / 7))
    assert loss(0.1, 0.2, 0.3) == pytest.approx(4 * 4 * pi * (0.1 + 0.2) / IMAGES, rel=1e-5)
    assert loss(0.1) == pytest.approx(4 * 4 * pi * 0.2 / IMAGES, rel=1e-5)
