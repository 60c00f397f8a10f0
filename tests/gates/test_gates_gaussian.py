"""Variational dropout: its divergence, the noise of every layer, and its loss."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats

from gpnas.gates import GateContext, gaussian
from gpnas.masks import init_masks, masked_leaves, schedule, update_leaves
from gpnas.methods import METHODS
from gpnas.models import im2col_conv

pytestmark = pytest.mark.usefixtures("strict")

KEY = jax.random.key(0)
GRID = np.linspace(-8, 8, 33, dtype=np.float32)
DRAWS = 20_000


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def divergence_at(ratio):
    """Of weights of size one, whose log σ² is log α."""
    return gaussian.divergence(jnp.ones_like(ratio), jnp.asarray(ratio))


def numpy_divergence(ratio):
    """Equation 14, the other way round."""
    ratio = np.float64(ratio)
    sigmoid = 1 / (1 + np.exp(-(1.87320 + 1.48695 * ratio)))
    return 0.63576 - 0.63576 * sigmoid + 0.5 * np.log1p(np.exp(-ratio))


def true_divergence(ratio):
    """E log|ε| − ½ log α, ε ~ N(1, α), and a constant that makes it zero for a large α."""
    deviation = np.exp(ratio / 2)

    def weighted(e):
        return np.log(abs(e)) * np.exp(-0.5 * ((e - 1) / deviation) ** 2)

    edges = sorted({0.0, 1.0, *(1 + deviation * np.array([-12, -4, -1, 1, 4, 12]))})
    parts = [
        integrate.quad(weighted, a, b, limit=200)[0] for a, b in zip(edges, edges[1:], strict=False)
    ]
    mean = sum(parts) / (deviation * np.sqrt(2 * np.pi))
    return mean - 0.5 * ratio + 0.5 * (np.euler_gamma + np.log(2))


def test_the_divergence_is_that_of_the_paper():
    np.testing.assert_allclose(divergence_at(GRID), numpy_divergence(GRID), rtol=1e-5, atol=1e-6)
    assert (np.diff(divergence_at(GRID)) < 0).all()  # the noisier a weight, the cheaper


def test_the_divergence_is_nearly_the_true_one():
    true = np.array([true_divergence(float(ratio)) for ratio in GRID])
    np.testing.assert_allclose(divergence_at(GRID), true, atol=0.02)


def test_log_alpha_is_clipped():
    weight, log_variance = normal(0, 7), 6 * normal(1, 7)
    expected = np.clip(log_variance - np.log(weight**2 + 1e-8), -8, 8)
    np.testing.assert_allclose(gaussian.log_alpha(weight, log_variance), expected, rtol=1e-5)
    assert gaussian.log_alpha(jnp.float32(1), jnp.float32([-20, -8, 3, 8, 20])).tolist() == [
        -8,
        -8,
        3,
        8,
        8,
    ]
    assert gaussian.log_alpha(jnp.float32(0), jnp.float32(-10)) == 8  # nothing but noise
    grads = jax.grad(gaussian.log_alpha, (0, 1))(jnp.float32(0), jnp.float32(-30))
    assert np.isfinite(grads).all()


@pytest.mark.slow
def test_the_slope_is_that_of_the_divergence():
    inside, outside = np.linspace(-7.99, 7.99, 999), np.array([-np.inf, -30, -8.01, 8.01, 30])
    sigmoid = 1 / (1 + np.exp(-(1.87320 + 1.48695 * inside)))
    exact = -0.63576 * 1.48695 * sigmoid * (1 - sigmoid) - 0.5 / (1 + np.exp(inside))
    found = gaussian.slope_by_log_alpha(jnp.float32(np.exp(inside)))
    np.testing.assert_allclose(found, exact, rtol=2e-4)
    assert (gaussian.slope_by_log_alpha(jnp.float32(np.exp(outside))) == 0).all()
    step = jax.grad(lambda w: gaussian.divergence(w, jnp.float32(-1)))(jnp.float32(0.7))
    ratio = -1 - 2 * np.log(0.7)
    ahead, behind = (numpy_divergence(ratio + e) for e in (1e-4, -1e-4))
    assert float(step) == pytest.approx((ahead - behind) / 2e-4 * -2 / 0.7, rel=1e-4)


def test_what_is_drawn_is_normal():
    drawn = [
        np.asarray(gaussian.standard_normal(100_000, jnp.uint32([5, seed]))) for seed in range(8)
    ]
    assert all(stats.kstest(z, "norm").pvalue > 1e-4 for z in drawn)
    across = np.corrcoef([*drawn, np.roll(drawn[0], 1)]) - np.eye(9)
    assert np.abs(across).max() < 5 / np.sqrt(100_000)


def noisy(module, params, x, variances):
    """(draws, …) outputs under as many keys."""

    def one(key):
        with nn.intercept_methods(gaussian.noise(variances, key)[0]):
            return module.apply({"params": params}, x)

    return np.asarray(jax.jit(jax.vmap(one))(jax.random.split(KEY, DRAWS)), np.float64)


def has_moments(outputs, mean, variance):
    """Whether samples have this mean and variance, to five standard errors."""
    variance = variance + 1e-8  # of `noise` itself
    error = np.abs(outputs.mean(0) - mean) / np.sqrt(variance / DRAWS)
    ratio = outputs.var(0) / variance
    assert error.max() < 5
    assert np.abs(ratio - 1).max() < 5 * np.sqrt(2 / DRAWS)


class Outer(nn.Module):
    """A layer inside of a module, and one like it that is another."""

    @nn.compact
    def __call__(self, x):
        return Inner()(x), Inner()(x)


class Inner(nn.Module):
    """A dense layer."""

    @nn.compact
    def __call__(self, x):
        return nn.Dense(3)(x)


def test_noise_of_a_dense_layer():
    x, w, b = normal(0, 2, 5), normal(1, 5, 3), normal(2, 3)
    variance = np.exp(normal(3, 5, 3))
    params = {"Dense_0": {"kernel": w, "bias": b}}
    outputs = noisy(Inner(), params, x, {"Dense_0/kernel": variance})
    has_moments(outputs, x @ w + b, x**2 @ variance)
    across = np.corrcoef(outputs.reshape(DRAWS, -1).T)
    assert np.abs(across - np.eye(6)).max() < 5 / np.sqrt(DRAWS)  # each output has its own


class Convolution(nn.Module):
    """A convolution in one of two ways."""

    convolve: object

    @nn.compact
    def __call__(self, x):
        return nn.Conv(2, (3, 2), (2, 1), "VALID", conv_general_dilated=self.convolve)(x)


def numpy_conv(x, w):
    """(batch, 5, 3, inputs) and (3, 2, inputs, outputs), strides of 2 and 1."""
    out = np.zeros((len(x), 2, 2, w.shape[-1]))
    for i in range(2):
        for j in range(2):
            out[:, i, j] = np.tensordot(x[:, 2 * i : 2 * i + 3, j : j + 2], w, 3)
    return out


@pytest.mark.parametrize("convolve", [None, im2col_conv], ids=["xla", "im2col"])
def test_noise_of_a_convolution(convolve):
    x, w, b = normal(0, 1, 5, 3, 2), normal(1, 3, 2, 2, 2), normal(2, 2)
    variance = np.exp(normal(3, 3, 2, 2, 2))
    params = {"Conv_0": {"kernel": w, "bias": b}}
    outputs = noisy(Convolution(convolve), params, x, {"Conv_0/kernel": variance})
    has_moments(outputs, numpy_conv(x, w) + b, numpy_conv(x**2, variance))


def layers(seed):
    """Params of `Outer`."""
    return {
        name: {"Dense_0": {"kernel": normal(seed + i, 4, 3), "bias": normal(seed + 2 + i, 3)}}
        for i, name in enumerate(("Inner_0", "Inner_1"))
    }


def outer(key, *names):
    """What both layers say when some of them, by path, have noise."""
    with nn.intercept_methods(gaussian.noise({n: jnp.ones((4, 3)) for n in names}, key)[0]):
        return Outer().apply({"params": layers(0)}, normal(9, 2, 4))


@pytest.mark.slow
def test_only_what_is_named_has_noise():
    plain = Outer().apply({"params": layers(0)}, normal(9, 2, 4))
    for names in ((), ("Dense_0/kernel",), ("Inner_2/Dense_0/kernel",)):
        np.testing.assert_array_equal(outer(KEY, *names), plain)
    first, second = outer(KEY, "Inner_0/Dense_0/kernel")
    assert (first != plain[0]).all() and (second == plain[1]).all()
    first, second = outer(KEY, "Inner_1/Dense_0/kernel")
    assert (first == plain[0]).all() and (second != plain[1]).all()


def test_noise_is_of_its_key_and_its_layer():
    names = "Inner_0/Dense_0/kernel", "Inner_1/Dense_0/kernel"
    plain = np.array(Outer().apply({"params": layers(0)}, normal(9, 2, 4)))
    one, same, other = (np.array(outer(key, *names)) for key in (KEY, KEY, jax.random.key(1)))
    np.testing.assert_array_equal(one, same)
    assert (one != other).all()
    added = one - plain  # of one deviation in both layers
    assert np.abs(added[0] - added[1]).min() > 1e-3
    np.testing.assert_array_equal(outer(KEY, names[1])[1], one[1])  # whatever the others do


class Net(nn.Module):
    """A smooth network of two layers."""

    @nn.compact
    def __call__(self, x):
        x = jnp.tanh(nn.Dense(4)(x))
        return nn.Dense(3)(x)


FIRST, LAST = "Dense_0/kernel", "Dense_1/kernel"
PARAMS = {
    "Dense_0": {"kernel": normal(0, 5, 4), "bias": normal(1, 4)},
    "Dense_1": {"kernel": normal(2, 4, 3), "bias": normal(3, 3)},
}
GATES = {FIRST: normal(4, 5, 4) - 1, LAST: normal(5, 4, 3) - 1}
MASKS = update_leaves(
    init_masks(PARAMS), {FIRST: normal(6, 5, 4) > 0, LAST: jnp.zeros((4, 3), bool)}
)
RISE = schedule.linear(0.0, 1.0, 10, 20)


@pytest.fixture(scope="module")
def batch(forward):
    return forward(Net(), normal(7, 6, 5), np.array([0, 1, 2, 0, 1, 2]))


@pytest.fixture(scope="module")
def loss(batch):
    """`(params, gates, masks, masked, step) → loss` of 50 images, at weight 0.7."""

    def value(params=PARAMS, gates=GATES, masks=MASKS, masked=True, step=17):
        method = gaussian.variational(RISE, 50, masked=masked)
        context = GateContext(jnp.int32(step), masks, KEY)
        found, out = method.loss(batch, params, gates, context)
        assert out == "out"
        return found

    return value


def scaled(tree, by):
    return jax.tree.map(lambda x: by * x, tree)


@pytest.mark.slow
def test_the_loss_by_hand(batch, loss):
    """With weights so small that their noise is nothing."""
    params = scaled(PARAMS, 0.01)
    gates = {FIRST: GATES[FIRST] - 12, LAST: GATES[LAST] - 12}
    weights = {p: np.float64(w) for p, w in masked_leaves(init_masks(params), params).items()}
    each = {
        p: numpy_divergence(np.clip(gates[p] - np.log(w**2 + 1e-8), -8, 8))
        for p, w in weights.items()
    }
    cross_entropy = float(batch.loss(params)[0])
    for masks, masked in ((init_masks(PARAMS), True), (MASKS, True), (MASKS, False)):
        counted = masked_leaves(masks if masked else init_masks(PARAMS))
        total = sum(each[p][np.asarray(m)].sum() for p, m in counted.items())
        for step, weight in ((10, 0.0), (17, 0.7), (30, 1.0)):
            expected = cross_entropy + weight * total / 50
            found = float(loss(params, gates, masks, masked, step))
            assert found == pytest.approx(expected, abs=2e-4), (masked, step)


def test_the_divergence_counts_between_its_start_and_its_stop(batch):
    """In sparse VD: r rises in a straight line to its weight, and falls to 0 at stop_at."""
    settings = {
        "total_steps": 100,
        "images": 50,
        "every": 25,
        "start_at": 0.1,
        "full_at": 0.2,
        "weight": 3.0,
    }
    gates = {FIRST: GATES[FIRST] - 12, LAST: GATES[LAST] - 12}

    def loss(step, **stop):
        method = METHODS["sparse_vd"](**settings, **stop).gates
        context = GateContext(jnp.int32(step), init_masks(PARAMS), KEY)
        return float(method.loss(batch, PARAMS, gates, context)[0])

    bare, whole = loss(10), loss(20)
    assert whole > bare + 1
    assert loss(15) == pytest.approx((bare + whole) / 2, rel=1e-5)
    assert loss(99) == loss(59, stop_at=0.6) == whole
    assert loss(60, stop_at=0.6) == loss(99, stop_at=0.6) == bare


def test_the_first_gates_and_the_network_at_test():
    method = gaussian.variational(RISE, 50, log_variance=-4.0)
    gates = method.init(MASKS, PARAMS, KEY)
    assert {p: g.shape for p, g in gates.items()} == {FIRST: (5, 4), LAST: (4, 3)}
    assert all((g == -4).all() for g in gates.values())
    assert method.network(PARAMS, gates, MASKS, jnp.int32(0)) is PARAMS
    alive = gaussian.low_noise(0.0)(masked_leaves(MASKS, PARAMS), GATES)
    for path, weight in masked_leaves(MASKS, PARAMS).items():
        ratio = GATES[path] - np.log(weight**2 + 1e-8)
        np.testing.assert_array_equal(alive[path], ratio < 0)
        assert 0 < alive[path].sum() < weight.size


@pytest.mark.slow
@pytest.mark.parametrize("masked", [True, False])
def test_masked_weights_have_no_part_in_it(masked, loss):
    dead = {p: ~np.asarray(m) for p, m in masked_leaves(MASKS).items()}
    noisier = {p: np.where(dead[p], g + 2, g) for p, g in GATES.items()}
    grads = jax.grad(lambda g: loss(gates=g, masked=masked))(GATES)
    if masked:
        assert loss() == loss(gates=noisier)
        assert all((grads[p][dead[p]] == 0).all() for p in GATES)
        assert (grads[FIRST][~dead[FIRST]] != 0).all()
    else:
        assert loss(masked=False) != loss(gates=noisier, masked=False)
        assert all((grads[p] != 0).all() for p in GATES)


@pytest.mark.parametrize("masked", [True, False])
def test_masked_weights_have_no_noise(masked, forward):
    """Of the first of three outputs no weight lives."""
    params = {"Dense_0": {"kernel": normal(0, 4, 3), "bias": normal(1, 3)}}
    masks = update_leaves(init_masks(params), {FIRST: np.tile([False, True, True], (4, 1))})
    batch, seen = forward(Inner(), normal(2, 6, 4), np.zeros(6, int)), []

    def watched(params, intercept):
        seen.append(batch.logits(params, intercept)[0] - batch.logits(params)[0])
        return jnp.float32(0), ()

    context = GateContext(jnp.int32(0), masks, KEY)
    gates = {FIRST: jnp.zeros((4, 3))}
    gaussian.variational(RISE, 50, masked=masked).loss(
        batch._replace(loss=watched), params, gates, context
    )
    added = np.abs(seen[0])
    assert added[:, 1:].min() > 1e-3
    assert added[:, 0].max() < 1e-3 if masked else added[:, 0].min() > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("masked", [True, False])
def test_gradients_are_those_of_finite_differences(masked, loss):
    """Along random directions, with the noise that one key stands for."""
    value = jax.jit(lambda params, gates: loss(params, gates, masked=masked))
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
        assert float(ahead - behind) / 6e-3 == pytest.approx(float(slope), rel=2e-2, abs=2e-3)
