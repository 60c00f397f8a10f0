"""Hard concrete gates: their distribution, the loss by hand, and the groups that they close."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from gpnas.gates import Forward, GateContext, concrete, groups
from gpnas.masks import init_masks, masked_leaves, tree

pytestmark = pytest.mark.usefixtures("strict")

KEY = jax.random.key(0)
CONV, DENSE = "Conv_0/kernel", "Dense_0/kernel"
IMAGES, STEP = 30, jnp.int32(7)


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


PARAMS = {
    "Conv_0": {"kernel": normal(0, 3, 3, 2, 4), "bias": normal(1, 4)},
    "Dense_0": {"kernel": normal(2, 6, 5), "bias": normal(3, 5)},
}
MASKS = init_masks(PARAMS)
WEIGHTS = masked_leaves(MASKS, PARAMS)
GATES = {CONV: normal(4, 4), DENSE: normal(5, 6)}  # a filter, an input unit


def sigmoid(x):
    return 1 / (1 + np.exp(-np.float64(x)))


def numpy_sample(log_alpha, uniform):
    """Equations 10 and 11."""
    s = sigmoid((np.log(uniform) - np.log(1 - uniform) + log_alpha) / (2 / 3))
    return np.clip(1.2 * s - 0.1, 0, 1)


def numpy_probability(log_alpha):
    """Equation 12."""
    return sigmoid(log_alpha - 2 / 3 * np.log(0.1 / 1.1))


def numpy_at_test(log_alpha):
    """Equation 13."""
    return np.clip(1.2 * sigmoid(log_alpha) - 0.1, 0, 1)


def columns(gates):
    """Gates of both leaves, in shapes that go with the weights."""
    return {CONV: gates[CONV][None, None, None, :], DENSE: gates[DENSE][:, None]}


def test_gates_are_those_of_the_paper():
    uniform, log_alpha = np.random.default_rng(0).random((50, 1)), 4 * normal(0, 1, 40)
    uniform = np.float32(np.clip(uniform, 1e-4, 1 - 1e-4))
    expected = numpy_sample(log_alpha, np.float64(uniform))
    np.testing.assert_allclose(
        concrete.sample(*map(jnp.asarray, np.broadcast_arrays(log_alpha, uniform))),
        expected,
        atol=1e-5,
    )
    assert {0.0, 1.0} <= set(expected.ravel()) and ((expected > 0) & (expected < 1)).any()
    np.testing.assert_allclose(
        concrete.probability(log_alpha), numpy_probability(log_alpha), rtol=1e-5
    )
    np.testing.assert_allclose(concrete.at_test(log_alpha), numpy_at_test(log_alpha), atol=1e-6)


@given(st.floats(-6, 6), st.floats(1e-3, 1 - 1e-3))
def test_a_gate_is_open_with_its_probability(log_alpha, uniform):
    """It is monotone in u, and open above 1 − P."""
    shut = 1 - numpy_probability(log_alpha)
    assume(abs(uniform - shut) > 1e-4)
    assert (concrete.sample(jnp.float32(log_alpha), jnp.float32(uniform)) > 0) == (uniform > shut)


def test_a_gate_is_open_as_often_as_it_should_be():
    draws, log_alpha = 20_000, np.float32([-3, -1, 0, 1, 3])
    uniform = jax.random.uniform(KEY, (draws, 5), minval=1e-6, maxval=1 - 1e-6)
    often = np.mean(concrete.sample(jnp.tile(log_alpha, (draws, 1)), uniform) > 0, 0)
    p = numpy_probability(log_alpha)
    assert (np.abs(often - p) < 5 * np.sqrt(p * (1 - p) / draws)).all()


def test_the_first_gates():
    gates = concrete.hard_concrete((0.1,), IMAGES, drops=(0.2, 0.7)).init(MASKS, PARAMS, KEY)
    assert {p: g.shape for p, g in gates.items()} == {CONV: (4,), DENSE: (6,)}
    for path, drop in ((CONV, 0.2), (DENSE, 0.7)):
        spread = gates[path] - np.log((1 - drop) / drop)
        assert 0 < np.abs(spread).max() < 0.05 and len(set(spread.tolist())) == len(spread)
    same = concrete.hard_concrete((0.1,), IMAGES).init(MASKS, PARAMS, KEY)
    assert all(np.abs(g).max() < 0.05 for g in same.values())


def test_one_value_for_all_layers_or_one_for_each():
    assert concrete.per_path((2.0,), ["a", "b"]) == {"a": 2.0, "b": 2.0}
    assert concrete.per_path((2.0, 3.0), ["a", "b"]) == {"a": 2.0, "b": 3.0}
    with pytest.raises(ValueError, match="zip"):
        concrete.per_path((1.0, 2.0, 3.0), ["a", "b"])


def uniforms(key):
    """What the loss draws."""
    bounds = {"minval": 1e-6, "maxval": 1 - 1e-6}
    keys = tree.keys_for(key, WEIGHTS)
    return {p: jax.random.uniform(keys[p], g.shape, **bounds) for p, g in GATES.items()}


def wave(params, intercept=None):
    """A smooth loss of all the parameters."""
    assert intercept is None
    flat = jnp.concatenate([x.ravel() for x in jax.tree.leaves(params)])
    return jnp.mean(jnp.cos(flat + jnp.arange(flat.size, dtype=flat.dtype))), "out"


FORWARD = Forward(wave, wave, np.zeros(1, int))


def loss(params=PARAMS, gates=GATES, masks=MASKS, key=KEY, **settings):
    method = concrete.hard_concrete(settings.pop("penalties", (0.3,)), IMAGES, **settings)
    value, out = method.loss(FORWARD, params, gates, GateContext(STEP, masks, key))
    assert out == "out"
    return value


@pytest.mark.slow
@pytest.mark.parametrize("penalties", [(0.3,), (0.3, 0.8)])
def test_the_loss_by_hand(penalties):
    drawn = columns({p: numpy_sample(GATES[p], np.float64(u)) for p, u in uniforms(KEY).items()})
    params = {
        "Conv_0": {**PARAMS["Conv_0"], "kernel": np.float32(WEIGHTS[CONV] * drawn[CONV])},
        "Dense_0": {**PARAMS["Dense_0"], "kernel": np.float32(WEIGHTS[DENSE] * drawn[DENSE])},
    }
    chance = {p: numpy_probability(g) for p, g in GATES.items()}
    conv = (chance[CONV] * (penalties[0] * 18 + 0.05 * (WEIGHTS[CONV] ** 2).sum((0, 1, 2)))).sum()
    dense = (chance[DENSE] * (penalties[-1] * 5 + 0.05 * (WEIGHTS[DENSE] ** 2).sum(1))).sum()
    expected = float(wave(params)[0]) + (conv + dense) / IMAGES
    assert float(loss(penalties=penalties, decay=0.1)) == pytest.approx(expected, rel=1e-5)
    assert float(loss(key=jax.random.key(1))) != float(loss())


def test_masks_are_for_the_test_only():
    method, shut = concrete.hard_concrete((0.1,), IMAGES), jax.tree.map(jnp.zeros_like, MASKS)
    assert not method.masked and loss(masks=shut) == loss()


@pytest.mark.slow
def test_gradients_are_those_of_finite_differences():
    value = jax.jit(lambda params, gates: loss(params, gates, decay=0.1))
    grads = jax.grad(value, (0, 1))(PARAMS, GATES)
    for seed in range(4):
        leaves, treedef = jax.tree.flatten((PARAMS, GATES))
        drawn = [normal(seed + 50 + i, *x.shape) for i, x in enumerate(leaves)]
        ways = jax.tree.unflatten(treedef, drawn)
        ahead, behind = (
            value(*jax.tree.map(lambda x, d, e=e: x + e * d, (PARAMS, GATES), ways))
            for e in (3e-3, -3e-3)
        )
        slope = sum(np.vdot(g, d) for g, d in zip(jax.tree.leaves(grads), drawn, strict=True))
        assert float(ahead - behind) / 6e-3 == pytest.approx(float(slope), rel=2e-2, abs=1e-3)


def test_groups_are_input_units_and_filters():
    axes = groups.inputs_and_filters(WEIGHTS)
    assert axes == {CONV: -1, DENSE: -2}
    assert groups.group_sizes(WEIGHTS, axes) == {CONV: 18, DENSE: 5}
    norms = groups.squares(WEIGHTS, axes)
    np.testing.assert_allclose(norms[CONV], (WEIGHTS[CONV] ** 2).sum((0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(norms[DENSE], (WEIGHTS[DENSE] ** 2).sum(1), rtol=1e-5)
    spread = groups.spread(GATES, axes, WEIGHTS)
    for path, expected in columns(GATES).items():
        np.testing.assert_array_equal(spread[path], expected)


def test_groups_of_hidden_units():
    weights = {f"Dense_{i}/kernel": normal(i, 3, 4) for i in range(3)}
    first, second, third = weights
    assert groups.hidden_units()(weights) == {first: -1, second: -1}
    assert groups.hidden_units([first])(weights) == {second: -1, third: -1}


def test_shut_gates_close_whole_groups():
    """At test: masks, and a network in which those weights do not matter."""
    gates = {CONV: np.float32([-9, 3, 0.5, -3]), DENSE: np.float32([2, -4, -9, 0, -2.3, -2.5])}
    is_open = columns({p: numpy_at_test(g) > 0 for p, g in gates.items()})
    assert is_open[CONV].ravel().tolist() == [False, True, True, False]
    assert is_open[DENSE].ravel().tolist() == [True, False, False, True, True, False]
    living = concrete.nonzero_at_test()(WEIGHTS, gates)
    method = concrete.hard_concrete((0.1,), IMAGES)
    network = method.network(PARAMS, gates, MASKS, STEP)
    other = jax.tree.map(lambda x: x + 1, PARAMS)
    changed = method.network(other, gates, MASKS, STEP)
    for path, found in masked_leaves(MASKS, network).items():
        np.testing.assert_array_equal(living[path], is_open[path])
        factor = columns({p: numpy_at_test(g) for p, g in gates.items()})[path]
        np.testing.assert_allclose(found, WEIGHTS[path] * factor, rtol=1e-5, atol=1e-6)
        shut = ~np.broadcast_to(is_open[path], found.shape)
        np.testing.assert_array_equal(found[shut], 0)
        np.testing.assert_array_equal(masked_leaves(MASKS, changed)[path][shut], 0)
        assert (masked_leaves(MASKS, changed)[path] != found)[~shut].all()
    np.testing.assert_array_equal(network["Dense_0"]["bias"], PARAMS["Dense_0"]["bias"])


def test_the_penalty_of_half_precision_weights_is_that_of_float32():
    half = jax.tree.map(lambda x: jnp.full(x.shape, 300.0, jnp.float16), PARAMS)
    whole = jax.tree.map(lambda x: x.astype(jnp.float32), half)
    gates, context = (
        concrete.hard_concrete((0.1,), IMAGES, decay=0.5),
        GateContext(STEP, MASKS, KEY),
    )
    still = Forward(None, lambda params: (jnp.float32(0), ()), None)
    found = [float(gates.loss(still, params, GATES, context)[0]) for params in (half, whole)]
    assert found[0] == pytest.approx(found[1], rel=1e-5) and np.isfinite(found[0])
