"""One step whose gradients are not finite, in the middle of a run."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gpnas.masks import MaskContext, allocate, init_masks, plasticity, schedule, score, transition
from gpnas.methods import build

PARAMS = {"w": jax.random.normal(jax.random.key(7), (30, 25))}
STEPS, EVERY, DECAY = 40, 5, 0.9
BAD = 17  # between mask updates
SGD = optax.sgd(0.01)
OPTIMIZERS = {
    "plain": SGD,
    "apply_if_finite": optax.apply_if_finite(SGD, 3),
    "fixed params": optax.set_to_zero(),
}
RULES = {
    "GMP by U": {
        "drop": score.removal_cost(DECAY),
        "grow": score.random(),
        "density": schedule.cubic(1.0, 0.1, 0, 30),
    },
    "growth by momentum": {
        "drop": score.magnitude(),
        "grow": score.momentum(DECAY),
        "density": schedule.constant(0.2),
        "churn": schedule.constant(0.3),
    },
}


def gradient(step, at=-1, value=0.0, where=True):
    """Random gradients; those `where` it says so are `value` at step `at`."""
    drawn = jax.random.normal(jax.random.fold_in(jax.random.key(1), step), (30, 25))
    return {"w": jnp.where((step == at) & where, value, drawn)}


@functools.cache
def compiled(rule, optimizer):
    """`(start, step)` of a training loop."""
    transform = plasticity(**RULES[rule], every=EVERY, allocation=allocate.global_())
    tx = OPTIMIZERS[optimizer]

    def step(carry, i, at, value):
        params, masks, mask_state, opt_state = carry
        # An optimizer that lets them through would make NaN of all parameters.
        where = jnp.arange(750).reshape(30, 25) == 79 if optimizer == "plain" else True
        grads = gradient(i, at, value, where)
        ctx = MaskContext(i, params, grads, jax.random.fold_in(jax.random.key(2), i))
        new, mask_state = transform.update(masks, mask_state, ctx)
        params, opt_state = transition(tx, masks, new, params, opt_state)
        masked = jax.tree.map(lambda m, g: jnp.where(m, g, 0), new, grads)
        updates, opt_state = tx.update(masked, opt_state, params)
        return (optax.apply_updates(params, updates), new, mask_state, opt_state), new["w"]

    masks, mask_state = transform.init(init_masks(PARAMS), PARAMS, jax.random.key(3))
    start = jax.tree.map(lambda m, p: jnp.where(m, p, 0), masks, PARAMS)
    return (start, masks, mask_state, tx.init(start)), jax.jit(step)


def course(rule, optimizer, at, value):
    """The masks after each step, (steps + 1, 30, 25)."""
    carry, step = compiled(rule, optimizer)
    masks = [carry[1]["w"]]
    for i in range(STEPS):
        carry, mask = step(carry, jnp.int32(i), jnp.int32(at), jnp.float32(value))
        masks.append(mask)
    return np.asarray(jnp.stack(masks))


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("at", [BAD, 20])
def test_pruning_by_removal_cost_reaches_its_density(optimizer, value, at):
    assert course("GMP by U", optimizer, at, value)[-1].sum() == 75


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("at", [BAD, 20])
def test_growth_by_momentum_goes_on_in_balance(optimizer, value, at):
    masks = course("growth by momentum", optimizer, at, value)
    assert (masks.sum((1, 2)) == 150).all()
    grown = (masks[1:] & ~masks[:-1]).sum((1, 2))
    updates = [i for i in range(STEPS) if i % EVERY == 0 and i > BAD]
    late = [i + (i == at) for i in updates]  # an update due at the step itself comes one later
    assert (grown[late] > 0).all() and grown.sum() == grown[: BAD + 1].sum() + grown[late].sum()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_pruning_after_a_step_that_is_not_finite_is_by_the_finite_steps(value):
    """With infinite scores all would tie, and chance would decide."""
    masks = course("GMP by U", "fixed params", BAD, value)
    w = np.asarray(PARAMS["w"], np.float64)
    mean, square, seen, alive = np.zeros(w.shape), np.zeros(w.shape), 0, np.ones(w.shape, bool)
    for i in range(STEPS):
        if i != BAD:
            g, seen = np.asarray(gradient(i)["w"], np.float64), seen + 1
            mean, square = DECAY * mean + (1 - DECAY) * g, DECAY * square + (1 - DECAY) * g**2
        if i % EVERY == 0 and i:
            living = round(750 * float(RULES["GMP by U"]["density"](jnp.int32(i))))
            cost = np.where(alive, abs(mean * w) + 0.5 * square * w**2, -1) / (1 - DECAY**seen)
            alive = cost >= np.sort(cost, axis=None)[-living]
        if i > BAD:
            assert (masks[i + 1] != alive).sum() <= 2  # float32 may order two neighbours otherwise
    assert alive.sum() == 75


def plain_step(name):
    """The jaxpr of a step between mask updates."""
    shapes = {"w": (30, 25)}
    settings = {} if name == "dense" else {"density": 0.2}
    every = {} if name in ("dense", "static") else {"every": EVERY}
    method = build(
        {"name": name, **settings, **every}, total_steps=STEPS, batch_size=8, shapes=shapes
    )
    masks, state = method.transform.init(init_masks(PARAMS), PARAMS, jax.random.key(0))

    def update(masks, state, params, grads):
        ctx = MaskContext(jnp.int32(1), params, grads, jax.random.key(0), may_update=False)
        return method.transform.update(masks, state, ctx)

    return str(jax.make_jaxpr(update)(masks, state, PARAMS, PARAMS))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dense", "static", "set", "rigl", "gmp", "granet"])
def test_a_step_that_keeps_no_statistics_checks_nothing(name):
    found = plain_step(name)
    assert "is_finite" not in found and "reduce_sum" not in found


def test_a_step_that_keeps_statistics_checks_once():
    assert plain_step("snfs").count("is_finite") == 1
