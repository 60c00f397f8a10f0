"""Scores of units against sums in plain NumPy over all that a unit owns."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import nets
import numpy as np
import pytest

from gpnas import masks as gm
from gpnas import units
from gpnas.errors import UserError
from gpnas.gates import Forward
from gpnas.masks import MaskContext
from gpnas.sensitivity import neurons
from gpnas.units import score

pytestmark = pytest.mark.usefixtures("lenient")  # the networks are

# A flatten (64 rows a channel), concatenations, shared streams, products, and weights used twice.
ROLES = {"incoming": ("produces", "adds", "scales", "both"), "outgoing": ("consumes", "both")}
ROLES["all"] = (*ROLES["incoming"], "consumes")
KINDS = ("vgg", "densenet", "resnet", "vit", "recurrent", "tied")


def found(kind: str):
    net = nets.NETS[kind]()
    return net, units.discover(net.apply, net.variables, *net.inputs)


def gradients(variables, seed: int = 0):
    draw = np.random.default_rng(seed)
    return jax.tree.map(lambda x: jnp.asarray(draw.normal(size=x.shape), jnp.float32), variables)


def context(variables, grads=None) -> MaskContext:
    grads = gradients(variables) if grads is None else grads
    return MaskContext(jnp.int32(0), variables, grads, jax.random.key(3))


def value(judge, ctx, kept=None):
    with nets.strictly():
        return jax.jit(judge.value)({} if kept is None else kept, ctx)


def owns(group, variables, side="all"):
    """For each unit `{path: bool array}` of what it owns, index by index."""
    shapes = {p: x.shape for p, x in nets.leaves_by_path(variables).items()}
    for unit in range(group.size):
        marks = {}
        for m in group.members:
            if m.role in ROLES[side]:
                mark = marks.setdefault(m.path, np.zeros(shapes[m.path], bool))
                for at in m.at[m.unit == unit]:
                    np.moveaxis(mark, m.axis, 0)[at] = True
        yield marks


def summed(group, values, side="all"):
    flat = {p: np.asarray(x, np.float64) for p, x in nets.leaves_by_path(values).items()}
    return np.array([
        sum(flat[p][mark].sum() for p, mark in marks.items()) for marks in owns(group, values, side)
    ])  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("side", ["all", "incoming", "outgoing"])
def test_sums_count_each_entry_of_a_unit_once(kind, side):
    net, groups = found(kind)
    values = gradients(net.variables)
    if side == "outgoing":  # the width of keys is read by queries, not by weights
        has = [g for g in groups.groups if any(m.role in ROLES[side] for m in g.members)]
        groups = groups._replace(groups=tuple(has))
    sums = jax.jit(lambda v: score.sum_per_unit(groups, v, side))(values)
    assert set(sums) == {group.name for group in groups.groups}
    for group in groups.groups:
        assert sums[group.name].shape == (group.size,)
        np.testing.assert_allclose(
            sums[group.name], summed(group, values, side), rtol=1e-4, atol=1e-4
        )


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["vgg", "recurrent"])
def test_magnitude_and_taylor(kind):
    net, groups = found(kind)
    ctx = context(net.variables)
    squares = jax.tree.map(jnp.square, net.variables)
    products = jax.tree.map(jnp.multiply, net.variables, ctx.grads)
    large = value(score.magnitude(groups), ctx)
    slope = value(score.taylor(groups, "outgoing"), ctx)
    for group in groups.groups:
        np.testing.assert_allclose(large[group.name] ** 2, summed(group, squares), rtol=1e-4)
        expected = np.abs(summed(group, products, "outgoing"))
        np.testing.assert_allclose(slope[group.name], expected, rtol=1e-3, atol=1e-5)


@pytest.mark.slow
def test_removal_cost_and_growth_gain_by_their_formulas():
    net, groups = found("tied")
    params, draws = net.variables, [gradients(net.variables, seed) for seed in range(4)]
    decay, batch = 0.5, 3
    judges = (
        score.removal_cost(groups, decay, batch),
        score.growth_gain(groups, decay, batch, epsilon=1e-3),
    )
    kept = gm.score.init_statistics(judges, params)
    for grads in draws:
        kept = gm.score.observe(judges, kept, context(params, grads))[0]
    ages = np.array([decay**age for age in range(4)])[::-1]

    def average(f):
        looks = [jax.tree.map(f, grads) for grads in draws]
        return jax.tree.map(lambda *g: np.average(np.stack(g), 0, ages), *looks)

    mean, square = average(lambda g: g), average(lambda g: g * g)
    bends = jax.tree.map(lambda w, s: 0.5 * batch * s * w * w, params, square)
    slopes = jax.tree.map(lambda w, g: w * g, params, mean)
    gains = jax.tree.map(lambda g, s: g * g / (2 * (batch * s + 1e-3)), mean, square)
    cost, gain = (value(judge, context(params), kept) for judge in judges)
    for group in groups.groups:
        u = np.abs(summed(group, slopes, "outgoing")) + summed(group, bends, "outgoing")
        np.testing.assert_allclose(cost[group.name], u, rtol=1e-3)
        np.testing.assert_allclose(gain[group.name], summed(group, gains, "outgoing"), rtol=1e-3)


def test_scores_share_their_statistics_with_those_of_weights():
    _, groups = found("tied")
    kept = (score.removal_cost(groups), score.growth_gain(groups), gm.score.removal_cost())
    assert len({name for judge in kept for name in judge.statistics}) == 2


@pytest.mark.slow
def test_a_score_per_cost():
    net, groups = found("densenet")
    ctx = context(net.variables)
    costs = {"params/stem*": 4.0, "params/grow*": np.array([1.0, 2.0, 5.0], np.float32)}
    plain = score.magnitude(groups)
    whole, dear = value(plain, ctx), value(gm.score.per_cost(plain, costs), ctx)
    np.testing.assert_allclose(dear["params/stem/kernel:3"], whole["params/stem/kernel:3"] / 4)
    np.testing.assert_allclose(
        dear["params/grow1/kernel:3"], whole["params/grow1/kernel:3"] / np.array([1, 2, 5])
    )
    np.testing.assert_array_equal(
        dear["params/transition/kernel:3"], whole["params/transition/kernel:3"]
    )


def test_scales_of_norms_are_no_variances():
    net, groups = found("densenet")
    values = value(score.batch_norm_scale(groups), context(net.variables))
    params = net.variables["params"]
    expected = sum(np.abs(params[f"BatchNorm_{i}"]["scale"][:4]) for i in range(3))
    np.testing.assert_allclose(values["params/stem/kernel:3"], expected, rtol=1e-6)
    assert "params/transition/kernel:3" not in values


@pytest.mark.slow
def test_globs_that_match_nothing_are_refused():
    net, groups = found("densenet")
    ctx = context(net.variables)
    judges = {
        "costs": gm.score.per_cost(score.magnitude(groups), {"params/stm*": 4.0}),
        "where": score.batch_norm_scale(groups, "params/stm*"),
    }
    for field, judge in judges.items():
        with pytest.raises(ValueError, match=rf"^{field}: got 'params/stm\*'"):
            judge.value({}, ctx)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [score.magnitude, score.taylor])
def test_sums_over_half_precision_are_those_of_float32(kind):
    net, groups = found("vgg")
    params = jax.tree.map(lambda x: (1e-4 * jnp.ones_like(x)).astype(jnp.float16), net.variables)
    grads = jax.tree.map(lambda x: 3 * x, params)
    wide = jax.tree.map(lambda x: x.astype(jnp.float32), (params, grads))
    half, whole = (value(kind(groups), context(*trees)) for trees in ((params, grads), wide))
    for name, values in half.items():
        np.testing.assert_allclose(values, whole[name], rtol=1e-5)
        assert (values > 0).all()


@pytest.mark.slow
def test_fpgm_finds_the_filter_that_others_stand_in_for():
    net, groups = found("vgg")
    kernel = net.variables["params"]["Conv_0"]["kernel"]
    kernel = kernel.at[..., 2].set(jnp.mean(kernel[..., jnp.array([0, 1, 3])], -1))
    net.variables["params"]["Conv_0"]["kernel"] = kernel
    values = value(score.fpgm(groups), context(net.variables))
    rows = np.asarray(kernel).reshape(-1, 4).T
    expected = np.linalg.norm(rows[:, None] - rows[None], axis=2).sum(1)
    np.testing.assert_allclose(values["params/Conv_0/kernel:3"], expected, rtol=1e-5)
    assert int(values["params/Conv_0/kernel:3"].argmin()) == 2


@pytest.mark.slow
def test_random_is_new_with_each_key_and_group():
    net, groups = found("densenet")
    ctx = context(net.variables)
    first = value(score.random(groups), ctx)
    again = value(score.random(groups), ctx)
    other = value(score.random(groups), ctx.replace(key=jax.random.key(4)))
    name, second = "params/grow1/kernel:3", "params/grow2/kernel:3"
    np.testing.assert_array_equal(first[name], again[name])
    assert np.all(first[name] != other[name]) and np.all(first[name] != first[second])


class Small(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Conv(4, (3, 3))(x)).reshape(x.shape[0], -1)
        x = nn.tanh(nn.Dense(6)(x))
        return nn.Dense(3)(x)


@pytest.mark.slow
def test_the_sensitivity_of_serene_is_one_of_units():
    images = nets.images(4)
    net = nets.linen(Small(), images)

    def logits(params, intercept=None):
        with nn.intercept_methods(intercept or (lambda f, a, k, c: f(*a, **k))):
            return Small().apply({"params": params}, images), {}

    groups = units.discover(net.apply, net.variables, images)
    found = neurons.exact(Forward(logits, logits, None), net.variables["params"])
    values = score.of_neurons(groups, net.variables, found)
    assert set(values) == {"params/Conv_0/kernel:3", "params/Dense_0/kernel:1"}
    np.testing.assert_array_equal(values["params/Dense_0/kernel:1"], found["Dense_0/kernel"])
    np.testing.assert_array_equal(values["params/Conv_0/kernel:3"], found["Conv_0/kernel"])


def test_the_most_sensitive_neuron_speaks_for_a_shared_stream():
    net, groups = found("resnet")
    values = score.of_neurons(groups, net.variables, {
        "stem/kernel": jnp.array([1.0, 2, 3, 4]), "Conv_1/kernel": jnp.array([4.0, 3, 2, 1]),
    })  # fmt: skip
    assert set(values) == {"params/stem/kernel:3"}
    np.testing.assert_array_equal(values["params/stem/kernel:3"], [4, 3, 3, 4])


def test_what_cannot_be_scored_is_said():
    net, groups = found("vit")
    with pytest.raises(UserError, match="side"):
        score.magnitude(groups, "left")
    with pytest.raises(UserError, match="outgoing leaves of params/attention/query/kernel:2"):
        score.sum_per_unit(groups, net.variables, "outgoing")
