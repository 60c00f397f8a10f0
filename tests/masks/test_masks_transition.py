"""What a change of masks does to weights and to what an optimizer remembers."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gpnas.masks import (
    MaskContext,
    apply,
    grow_at_fan_in,
    init_masks,
    reset_moments,
    score,
    transition,
    update_leaves,
)

KEY = jax.random.key(0)
PARAMS = {"w": jnp.arange(1.0, 13.0).reshape(4, 3), "b": jnp.ones(3)}


def masks_of(live):
    return update_leaves(init_masks(PARAMS), {"w": jnp.asarray(live)})


OLD = masks_of([[1, 0, 1], [1, 1, 0], [0, 0, 1], [1, 1, 1]]).copy()
OLD["w"] = OLD["w"].astype(bool)
NEW = masks_of(jnp.array([[1, 1, 0], [0, 1, 1], [0, 0, 1], [1, 1, 1]], bool))
CHANGED = np.asarray(OLD["w"] != NEW["w"])
WOKEN = np.asarray(NEW["w"] & ~OLD["w"])


def test_dropped_are_zero_and_woken_start_at_zero():
    tx = optax.sgd(0.1, momentum=0.9)
    params, _ = transition(tx, OLD, NEW, PARAMS, tx.init(PARAMS))
    expected = np.where(CHANGED | ~np.asarray(NEW["w"]), 0, PARAMS["w"])
    np.testing.assert_array_equal(params["w"], expected)
    np.testing.assert_array_equal(params["b"], PARAMS["b"])


def test_moments_of_changed_entries_are_zeroed_and_no_others():
    tx = optax.adam(0.1)
    state = tx.init(PARAMS)
    ones = jax.tree.map(jnp.ones_like, PARAMS)
    state = (state[0]._replace(mu=ones, nu=ones), *state[1:])
    state = reset_moments(tx, OLD, NEW, state, PARAMS)
    for moments in (state[0].mu, state[0].nu):
        np.testing.assert_array_equal(moments["w"], np.where(CHANGED, 0, 1))
        np.testing.assert_array_equal(moments["b"], 1)


def test_state_of_another_shape_is_left_alone():
    tx = optax.adafactor(0.1, min_dim_size_to_factor=2)
    state = tx.init(PARAMS)
    full_of_ones = jax.tree.map(jnp.ones_like, state)
    after = reset_moments(tx, OLD, NEW, full_of_ones, PARAMS)
    for before, now in zip(jax.tree.leaves(full_of_ones), jax.tree.leaves(after), strict=True):
        if before.shape != (4, 3):
            np.testing.assert_array_equal(before, now)


@pytest.mark.slow
def test_woken_weights_can_start_from_their_living_fan_in():
    big = {"w": jnp.zeros((400, 500))}
    live = jnp.zeros((400, 500), bool).at[:100].set(True)
    tx = optax.sgd(0.1)
    before = {"w": jnp.zeros_like(live)}
    params, _ = transition(
        tx, before, {"w": live}, big, tx.init(big), init=grow_at_fan_in(0.5), grads=big, key=KEY
    )
    living = np.asarray(params["w"])[:100]
    assert (np.asarray(params["w"])[100:] == 0).all()
    assert living.std() == pytest.approx(0.5 * np.sqrt(2 / 100), rel=0.02)
    assert abs(living.mean()) < 0.002


@pytest.mark.slow
def test_first_values_do_not_follow_the_lots_that_chose_the_woken():
    """Random growth and random first values in one step have the same key, and must not agree."""
    zeros = {"w": jnp.zeros((100, 100))}
    ctx = MaskContext(jnp.int32(0), zeros, zeros, KEY)
    lots = score.random().value({}, ctx)["w"]
    live = lots > 0.9
    tx = optax.sgd(0.1)
    params, _ = transition(
        tx, {"w": ~live & live}, {"w": live}, zeros, tx.init(zeros), init=grow_at_fan_in(), key=KEY
    )
    woken = np.asarray(params["w"])[np.asarray(live)]
    assert abs(woken.mean()) < 4 * woken.std() / np.sqrt(woken.size)


def test_random_first_values_need_a_key():
    tx = optax.sgd(0.1)
    with pytest.raises(ValueError, match="^key: got None, allowed: a random key"):
        transition(tx, OLD, NEW, PARAMS, tx.init(PARAMS), init=grow_at_fan_in())


def test_nan_weights_do_not_survive_their_drop():
    tx = optax.sgd(0.1)
    bad = {**PARAMS, "w": jnp.full((4, 3), jnp.nan)}
    params, _ = transition(tx, OLD, masks_of(jnp.zeros((4, 3), bool)), bad, tx.init(bad))
    assert (np.asarray(params["w"]) == 0).all()


def test_gradients_decide_the_type_of_first_values():
    half = apply(OLD, {"w": PARAMS["w"].astype(jnp.bfloat16), "b": PARAMS["b"]})
    tx = optax.sgd(0.1)
    params, _ = transition(tx, OLD, NEW, half, tx.init(half), init=grow_at_fan_in(), key=KEY)
    assert params["w"].dtype == jnp.bfloat16
    assert (np.asarray(params["w"])[WOKEN] != 0).all()
