"""Optimizers by name: what decays, what warms up, what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gpnas.errors import UserError
from gpnas.masks import Axes
from gpnas.train import base
from gpnas.train._optimizer import build_gate_optimizer, build_optimizer, learning_rate

PARAMS = {"kernel": jnp.ones((3, 2)), "bias": jnp.ones(2), "scale": jnp.ones(4)}
NAMES = ("sgd", "adam", "adamw", "lion", "rmsprop", "adafactor", "lamb", "lars", "novograd")


def section(name="sgd", **fields):
    config = base().optimizer
    config.name, config.schedule = name, "constant"
    config.arguments = fields.pop("arguments", {})
    for field, value in fields.items():
        config[field] = value
    return config


def first_update(config, grads=PARAMS, steps=100):
    tx = build_optimizer(config, steps)
    return tx.update(grads, tx.init(PARAMS), PARAMS)[0]


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_decay_spares_biases(name):
    zero = jax.tree.map(jnp.zeros_like, PARAMS)
    with_decay = first_update(section(name, weight_decay=0.1), zero)
    assert np.all(np.array(with_decay["kernel"]) < 0)
    for part in ("bias", "scale"):
        assert not np.any(np.array(with_decay[part]))
    without = first_update(section(name), zero)
    assert not any(np.any(np.array(leaf)) for leaf in jax.tree.leaves(without))


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_decay_spares_biases_of_stacked_layers(name):
    params = {"layers": {"kernel": jnp.ones((3, 4, 2)), "bias": jnp.ones((3, 2))}}
    axes = {"layers/*": Axes(batch_axis=0)}
    tx = build_optimizer(section(name, weight_decay=0.1), 100, axes)
    zero = jax.tree.map(jnp.zeros_like, params)
    updates = tx.update(zero, tx.init(params), params)[0]["layers"]
    assert (updates["kernel"] < 0).all() and not updates["bias"].any()


@pytest.mark.parametrize("name", NAMES)
def test_it_descends(name):
    moved = first_update(section(name, clip_norm=1.0))
    assert all(np.all(np.array(leaf) < 0) for leaf in jax.tree.leaves(moved))


def rates(**fields):
    """The learning rate at each of 20 steps, 0.5 at most."""
    tx = build_optimizer(section(learning_rate=0.5, **fields), 20)
    state, found = tx.init(PARAMS), []
    for _ in range(20):
        updates, state = tx.update(PARAMS, state, PARAMS)
        found.append(-float(updates["bias"][0]))
    return np.array(found)


def test_schedules():
    np.testing.assert_allclose(rates(), 0.5)
    cosine = 0.25 * (1 + np.cos(np.pi * np.arange(20) / 20))
    np.testing.assert_allclose(rates(schedule="cosine"), cosine, atol=1e-6)
    warm = rates(schedule="cosine", warmup_at=0.25)
    np.testing.assert_allclose(warm[:6], 0.1 * np.arange(6), atol=1e-6)
    assert np.all(np.diff(warm[5:]) < 0)
    line = 0.5 * (1 - np.arange(20) / 20)
    np.testing.assert_allclose(rates(schedule="linear"), line, atol=1e-6)
    warm = rates(schedule="linear", warmup_at=0.25)
    np.testing.assert_allclose(warm[:5], 0.1 * np.arange(5), atol=1e-6)
    np.testing.assert_allclose(warm[5:], 0.5 * (1 - np.arange(15) / 15), atol=1e-6)


def test_the_rate_that_is_told_is_that_of_the_step():
    fields = {"schedule": "cosine", "warmup_at": 0.1, "decay_at": 0.5}
    config = section(learning_rate=0.5, **fields)
    told = learning_rate(config, 20)
    np.testing.assert_allclose([told(n) for n in range(1, 21)], rates(**fields), rtol=1e-5)
    twice = learning_rate(config, 40, trainings=2)
    assert [twice(n) for n in (1, 20)] == [twice(n) for n in (21, 40)] == [told(1), told(20)]


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
@pytest.mark.parametrize(("warmup_at", "decay_at"), [(0, 0.6), (0.25, 0.6), (0.6, 0.6), (0, 0.95)])
def test_a_rate_that_falls_late(schedule, warmup_at, decay_at):
    found = rates(schedule=schedule, warmup_at=float(warmup_at), decay_at=decay_at)
    start, stop = round(20 * warmup_at), round(20 * decay_at)
    past = np.arange(20 - stop) / (20 - stop)
    fall = {"cosine": 0.5 * (1 + np.cos(np.pi * past)), "linear": 1 - past}[schedule]
    np.testing.assert_allclose(found[:start], 0.5 * np.arange(start) / max(start, 1), atol=1e-6)
    np.testing.assert_allclose(found[start:stop], 0.5, atol=1e-6)
    np.testing.assert_allclose(found[stop:], 0.5 * fall, atol=1e-6)


def drops(rate, steps):
    """A third of the rate after half of the steps, and a ninth after three quarters."""
    return optax.piecewise_constant_schedule(rate, {steps // 2: 1 / 3, 3 * steps // 4: 1 / 3})


def text(rate, steps):
    return lambda step: f"{rate} {steps}"


def vector(rate, steps):
    return lambda step: jnp.full(3, rate)


def whole(rate, steps):
    return lambda step: step


def number(rate, steps):
    return rate


def one(rate):
    return optax.constant_schedule(rate)


def test_a_schedule_of_one_s_own():
    found = rates(schedule=f"{__name__}:drops")
    np.testing.assert_allclose(found, np.repeat([0.5, 0.5 / 3, 0.5 / 9], [10, 5, 5]), rtol=1e-6)
    late = rates(schedule=f"{__name__}:drops", warmup_at=0.2, decay_at=0.6)
    np.testing.assert_allclose(late[:4], 0.125 * np.arange(4), atol=1e-6)
    np.testing.assert_allclose(late[4:], np.repeat([0.5, 0.5 / 3, 0.5 / 9], [12, 2, 2]), rtol=1e-6)


@pytest.mark.parametrize("name", ["text", "vector", "whole", "number", "one", "PARAMS", "none"])
def test_a_function_that_makes_no_schedule(name):
    with pytest.raises(UserError) as caught:
        build_optimizer(section(schedule=f"{__name__}:{name}"), 100)
    assert caught.value.field == "optimizer.schedule"
    assert "\n" not in str(caught.value)


def nothing(learning_rate) -> optax.GradientTransformation:
    return None


def broken(learning_rate) -> optax.GradientTransformation:
    raise RuntimeError("no\nway")


def test_it_falls_in_compiled_code_too():
    tx = build_optimizer(section(schedule="linear", learning_rate=0.5, decay_at=0.5), 20)

    def step(state, _):
        updates, state = tx.update(PARAMS, state, PARAMS)
        return state, -updates["bias"][0]

    found = jax.jit(lambda: jax.lax.scan(step, tx.init(PARAMS), length=20)[1])()
    np.testing.assert_allclose(found, rates(schedule="linear", decay_at=0.5), atol=1e-6)


def test_clipping_is_of_the_global_norm():
    grads = jax.tree.map(lambda x: 100 * x, PARAMS)
    clipped = first_update(section(learning_rate=1.0, clip_norm=2.0), grads)
    total = sum(float(jnp.sum(leaf**2)) for leaf in jax.tree.leaves(clipped))
    np.testing.assert_allclose(total, 4, rtol=1e-5)


@pytest.mark.parametrize(
    ("field", "fields"),
    [
        ("optimizer.name", {"name": "sdg"}),
        ("optimizer.name", {"name": "chain"}),
        ("optimizer.name", {"name": "__doc__"}),
        ("optimizer.learning_rate", {"learning_rate": 0.0}),
        ("optimizer.learning_rate", {"learning_rate": -1.0}),
        ("optimizer.learning_rate", {"learning_rate": float("nan")}),
        ("optimizer.learning_rate", {"learning_rate": float("inf")}),
        ("optimizer.schedule", {"schedule": "stairs"}),
        ("optimizer.decay_at", {"decay_at": 1.0}),
        ("optimizer.decay_at", {"decay_at": -0.1}),
        ("optimizer.decay_at", {"decay_at": float("nan")}),
        ("optimizer.decay_at", {"decay_at": 0.2, "warmup_at": 0.3}),
        ("optimizer.warmup_at", {"warmup_at": 1.0}),
        ("optimizer.warmup_at", {"warmup_at": float("nan")}),
        ("optimizer.weight_decay", {"weight_decay": -0.1}),
        ("optimizer.weight_decay", {"weight_decay": float("nan")}),
        ("optimizer.clip_norm", {"clip_norm": -1.0}),
        ("optimizer.arguments.b1", {"arguments": {"b1": 0.9}}),
        ("optimizer.arguments.momentum", {"name": "adam", "arguments": {"momentum": 0.9}}),
        ("optimizer.arguments.learning_rate", {"arguments": {"learning_rate": 0.9}}),
        ("optimizer.arguments.weight_decay", {"name": "adamw", "arguments": {"weight_decay": 1.0}}),
        ("optimizer.arguments", {"arguments": {"momentum": "much"}}),
        ("optimizer.name", {"name": "lbfgs"}),
        ("optimizer.name", {"name": f"{__name__}:nothing"}),
        ("optimizer.name", {"name": f"{__name__}:broken"}),
        ("optimizer.name", {"name": f"{__name__}:missing"}),
    ],
)
def test_what_is_refused(field, fields):
    with pytest.raises(UserError) as caught:
        build_optimizer(section(**fields), 100)
    assert caught.value.field == field
    assert not caught.value.allowed.startswith(",")
    assert "\n" not in str(caught.value)


def gate_moves(config, steps=4):
    """Updates of a gate whose gradient is 4, in a run of so many steps."""
    tx, gate = build_gate_optimizer(config, steps), {"kernel": jnp.ones((2, 2))}
    state, found = tx.init(gate), []
    for _ in range(steps):
        updates, state = tx.update({"kernel": jnp.full((2, 2), 4.0)}, state, gate)
        found.append(float(updates["kernel"][0, 0]))
    return np.array(found)


def test_gates_move_as_weights_do_or_by_an_optimizer_of_their_own():
    config = base()
    config.optimizer = section(
        learning_rate=0.5, schedule="linear", warmup_at=0.25, decay_at=0.5, weight_decay=0.1,
        clip_norm=1.0,
    )  # fmt: skip
    np.testing.assert_allclose(gate_moves(config), [0, -2, -2, -1])  # neither decayed nor clipped
    config.gates.update(name="adam", learning_rate=0.01)
    np.testing.assert_allclose(gate_moves(config), -0.01, rtol=1e-4)


@pytest.mark.parametrize(("field", "value"), [("name", "sdg"), ("learning_rate", 0.0)])
def test_an_optimizer_of_gates_that_cannot_be(field, value):
    config = base()
    config.gates.update({"name": "adam", field: value})
    with pytest.raises(UserError, match=f"gates.{field}: got"):
        build_gate_optimizer(config, 100)


def test_a_rate_of_gates_without_their_optimizer():
    config = base()
    config.gates.learning_rate = 0.5
    with pytest.raises(UserError, match=r"gates.learning_rate: got 0.5, allowed: 0.001"):
        build_gate_optimizer(config, 10)
