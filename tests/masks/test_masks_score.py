"""Scores against plain NumPy, autodiff and the quadratic problems whose answers are known."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpnas.masks import MaskContext, score

RNG = np.random.default_rng(0)
PARAMS = {"a": RNG.normal(size=(3, 4)).astype(np.float32), "b": np.float32(RNG.normal(size=5))}
GRADS = {"a": RNG.normal(size=(3, 4)).astype(np.float32), "b": np.float32(RNG.normal(size=5))}


def context(params=PARAMS, grads=GRADS, seed=0, step=0):
    """A context with these params and gradients."""
    as_arrays = jax.tree.map(jnp.asarray, (params, grads))
    return MaskContext(jnp.int32(step), *as_arrays, jax.random.key(seed))


def watched(judge, gradients, params=None):
    """The values of a score after it has seen these gradients."""
    params = params or {name: PARAMS[name] for name in gradients[0]}
    kept = score.init_statistics((judge,), params)
    for g in gradients:
        kept = score.observe((judge,), kept, context(params, g))[0]
    return judge.value(kept, context(params, gradients[-1]))


def plain_ema(xs, decay):
    """The bias-corrected exponential moving average."""
    weights = (1 - decay) * decay ** np.arange(len(xs))[::-1]
    return sum(w * x.astype(np.float64) for w, x in zip(weights, xs, strict=True)) / weights.sum()


def close(got, expected, rtol=1e-5):
    """Both are pytrees of equal numbers."""
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-7), got, expected)


def test_simple_scores():
    close(watched(score.magnitude(), [GRADS]), jax.tree.map(np.abs, PARAMS))
    close(watched(score.gradient(), [GRADS]), jax.tree.map(np.abs, GRADS))
    close(watched(score.taylor(), [GRADS]), jax.tree.map(lambda w, g: abs(w * g), PARAMS, GRADS))


def test_taylor_is_the_slope_of_switching_a_weight_off():
    x, y = RNG.normal(size=(8, 5)).astype(np.float32), RNG.normal(size=8).astype(np.float32)

    def loss(w, gate):
        return jnp.mean((x @ (gate * w) - y) ** 2)

    w = PARAMS["b"]
    slope = jax.grad(loss, argnums=1)(w, jnp.ones(5))
    got = watched(score.taylor(), [{"b": jax.grad(loss)(w, jnp.ones(5))}], {"b": w})
    close(got, {"b": jnp.abs(slope)})


@pytest.mark.slow
@given(st.integers(1, 12), st.sampled_from([0.0, 0.5, 0.9, 0.99]))
def test_averages_are_those_of_numpy(n, decay):
    gradients = [jax.tree.map(lambda p, i=i: np.float32(np.sin(i + p)), PARAMS) for i in range(n)]
    each = {name: [g[name] for g in gradients] for name in PARAMS}
    mean = {name: plain_ema(x, decay) for name, x in each.items()}
    square = {name: plain_ema([v**2 for v in x], decay) for name, x in each.items()}

    fisher = {p: 0.5 * 16 * square[p] * PARAMS[p] ** 2 for p in PARAMS}
    close(watched(score.fisher(decay, 16), gradients), fisher, 1e-4)
    removal = {p: abs(mean[p] * PARAMS[p]) + fisher[p] for p in PARAMS}
    close(watched(score.removal_cost(decay, 16), gradients), removal, 1e-4)
    gain = {p: mean[p] ** 2 / (2 * (16 * square[p] + 1e-8)) for p in PARAMS}
    close(watched(score.growth_gain(decay, 16), gradients), gain, 1e-4)
    smooth = {name: plain_ema([abs(v) for v in x], decay) for name, x in each.items()}
    close(watched(score.ema(score.gradient(), decay), gradients), smooth, 1e-4)
    correction = 1 - decay**n
    momentum = {name: abs(m) * correction for name, m in mean.items()}
    close(watched(score.momentum(decay), gradients), momentum, 1e-4)


def test_ema_of_a_score_with_statistics_of_its_own():
    gradients = [jax.tree.map(lambda g, i=i: g * (i + 1), GRADS) for i in range(4)]
    averages = [0.1 * GRADS["b"]]
    for g in gradients[1:]:
        averages.append(0.9 * averages[-1] + 0.1 * g["b"])
    expected = plain_ema([abs(m) for m in averages], 0.5)
    close(watched(score.ema(score.momentum(0.9), 0.5), gradients)["b"], expected)


def test_a_shared_statistic_is_kept_and_computed_once():
    looks = []

    def look(kept, ctx):
        looks.append(1)
        return ctx.grads

    shared = {"shared": score.Statistic(lambda params: params, look)}
    pair = tuple(score.Score(n, shared, lambda kept, ctx: kept["shared"]) for n in ("one", "two"))
    kept = score.observe(pair, score.init_statistics(pair, PARAMS), context())[0]
    assert len(looks) == 1 and set(kept) == {"shared", "observations"}

    judges = (score.removal_cost(0.9, 4), score.growth_gain(0.9, 4))
    kept = score.init_statistics(judges, PARAMS)
    assert set(kept) == {"gradient@0.9", "gradient²@0.9", "observations"}
    assert score.init_statistics((score.magnitude(), score.gradient()), PARAMS) == {}


def test_statistics_are_float32_whatever_the_gradient():
    half = jax.tree.map(lambda g: g.astype(jnp.bfloat16), jax.tree.map(jnp.asarray, GRADS))
    kept = score.init_statistics((score.momentum(),), PARAMS)
    kept = score.observe((score.momentum(),), kept, context(grads=half))[0]
    assert kept["gradient@0.9"]["a"].dtype == jnp.float32


def test_removal_cost_is_the_true_change_of_a_quadratic():
    """On L = ½F(w − w*)², with w beyond w*: U is L(0) − L(w) with the curvature that G₂ says."""
    g = np.abs(GRADS["b"]) + 0.1
    batch_size = 3
    curvature = batch_size * g**2
    w = -np.abs(PARAMS["b"])  # downhill is away from zero
    best = w - g / curvature

    def loss(w):
        return 0.5 * curvature * (w - best) ** 2

    np.testing.assert_allclose(jax.grad(lambda w: jnp.sum(loss(w)))(w), g, rtol=1e-4)
    got = watched(score.removal_cost(0.9, batch_size), [{"b": g}] * 3, {"b": w})["b"]
    np.testing.assert_allclose(got, loss(0 * w) - loss(w), rtol=1e-4)


def test_growth_gain_is_the_best_gain_of_a_quadratic():
    g = GRADS["b"]
    batch_size = 3
    curvature = batch_size * g**2

    def loss(w):
        return g * w + 0.5 * curvature * w**2

    best = loss(-g / curvature)
    got = watched(score.growth_gain(0.9, batch_size, epsilon=0), [{"b": g}] * 3)["b"]
    np.testing.assert_allclose(got, -best, rtol=1e-4)


def test_gain_and_cost_are_one_currency():
    """What a weight gains by being grown to its best value is what it costs to remove it there."""
    g, curvature = GRADS["b"], GRADS["b"] ** 2
    gain = watched(score.growth_gain(0.0, 1, epsilon=0), [{"b": g}])["b"]
    at_best = {"b": -g / curvature}
    kept = {"gradient@0.0": {"b": 0 * g}, "gradient²@0.0": {"b": curvature}}
    kept["observations"] = jnp.float32(1)
    cost = score.removal_cost(0.0, 1).value(kept, context(at_best, {"b": 0 * g}))["b"]
    np.testing.assert_allclose(cost, gain, rtol=1e-5)


def test_a_dead_gradient_gains_nothing():
    zero = jax.tree.map(np.zeros_like, PARAMS)
    close(watched(score.growth_gain(0.9, 1), [zero]), zero)


def test_random_differs_by_leaf_and_by_key_only():
    params = {"a": jnp.zeros((4, 5)), "b": jnp.zeros((4, 5))}
    judge = score.random()
    one, same, other = (judge.value({}, context(params, params, s)) for s in (0, 0, 1))
    assert (one["a"] == same["a"]).all()
    assert (one["a"] != one["b"]).mean() > 0.9
    assert (one["a"] != other["a"]).mean() > 0.9
    alone = judge.value({}, context({"b": params["b"]}, {"b": params["b"]}))
    assert (alone["b"] == one["b"]).all()  # other leaves do not matter


def test_per_cost():
    judge = score.per_cost(score.magnitude(), {"a*": 4.0})
    got = judge.value({}, context())
    close(got, {"a": abs(PARAMS["a"]) / 4, "b": abs(PARAMS["b"])})


@pytest.mark.parametrize("cost", [0.0, -1.0, np.inf, np.float32([1, 0, 2])])
def test_costs_are_positive(cost):
    with pytest.raises(ValueError, match="^costs: got .*, allowed: positive finite costs"):
        score.per_cost(score.magnitude(), {"a": cost})


def test_names_tell_scores_apart():
    judges = [
        score.magnitude(), score.gradient(), score.taylor(), score.random(), score.momentum(0.9),
        score.momentum(0.5), score.fisher(0.9, 1), score.fisher(0.9, 2), score.removal_cost(),
        score.growth_gain(), score.growth_gain(0.5), score.ema(score.taylor()),
        score.ema(score.taylor(), 0.5), score.per_cost(score.taylor(), {}),
        score.per_cost(score.taylor(), {"a": 2.0}), score.per_cost(score.taylor(), {"a": 3.0}),
    ]  # fmt: skip
    assert len({judge.name for judge in judges}) == len(judges)


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_scores_of_half_precision_are_those_of_float32(dtype):
    params, grads = ({"w": jnp.array(x, dtype)} for x in ([1e-4, 300.0, -2.0], [300.0, 1e-4, 1e-4]))
    whole = [jax.tree.map(lambda x: x.astype(jnp.float32), tree) for tree in (params, grads)]
    judges = (score.taylor(), score.fisher(), score.removal_cost(), score.growth_gain())
    for judge in judges:
        values = [
            judge.value(
                score.observe(judges, score.init_statistics(judges, p), context(p, g))[0],
                context(p, g),
            )
            for p, g in ((params, grads), whole)
        ]
        close(*values)
        assert (values[0]["w"] > 0).all() and jnp.isfinite(values[0]["w"]).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e25])
def test_a_step_that_is_not_finite_enters_no_statistic(bad):
    judges = (score.removal_cost(), score.ema(score.gradient()))
    kept = score.observe(judges, score.init_statistics(judges, PARAMS), context())[0]
    broken = {**GRADS, "a": np.where(GRADS["a"] > 1, np.float32(bad), GRADS["a"])}
    chex.assert_trees_all_equal(score.observe(judges, kept, context(grads=broken))[0], kept)


@pytest.mark.parametrize("make", [score.momentum, score.fisher, score.removal_cost])
def test_decays_that_never_forget(make):
    with pytest.raises(ValueError, match=r"got a decay of 1.0, allowed: \[0, 1\)"):
        make(1.0)
