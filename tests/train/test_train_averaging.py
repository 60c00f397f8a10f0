"""Weights for evaluation: averages of the trained ones, and those of schedule-free optimizers."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ml_collections import ConfigDict

from gpnas.errors import UserError
from gpnas.masks import init_masks, transition
from gpnas.train import load_run, make_plan, make_program, train
from gpnas.train._averaging import evaluation_params, params_ema
from tests.cases import some


@given(st.floats(0, 0.999), st.integers(1, 20))
def test_the_average_is_that_by_hand(decay, steps):
    tx = optax.chain(optax.sgd(0.1), params_ema(decay))
    params = {"w": jnp.float32(2.0)}
    state, expected = tx.init(params), 2.0
    for t in range(1, steps + 1):
        updates, state = tx.update({"w": jnp.float32(t)}, state, params)
        params = optax.apply_updates(params, updates)
        rate = 1 - min(decay, (1 + t) / (10 + t))
        expected += rate * (float(params["w"]) - expected)
    assert float(evaluation_params(state, params)["w"]) == pytest.approx(expected, rel=1e-5)


def test_changed_entries_forget_their_average():
    tx = params_ema(0.9)
    params = {"w": jnp.arange(4.0).reshape(2, 2)}
    state = tx.init(params)
    _, state = tx.update({"w": jnp.ones((2, 2))}, state, params)
    old = init_masks(params)
    new = {"w": jnp.array([[True, False], [True, True]])}
    params, state = transition(tx, old, new, params, state)
    assert float(evaluation_params(state, params)["w"][0, 1]) == 0.0


def test_schedule_free():
    tx = optax.contrib.schedule_free_sgd(0.5)
    params = {"w": jnp.ones((2, 2))}
    state = tx.init(params)
    updates, state = tx.update({"w": jnp.ones((2, 2))}, state, params)
    params = optax.apply_updates(params, updates)
    expected = optax.contrib.schedule_free_eval_params(state, params)
    chained = (optax.EmptyState(), state)
    np.testing.assert_array_equal(evaluation_params(chained, params)["w"], expected["w"])


@pytest.mark.slow
@pytest.mark.parametrize("decay", some([0.0, 0.95], [0.95]))
def test_evaluation_and_saved_networks_use_it(decay, tiny, digits, tmp_path):
    config = tiny(name="rigl", density=0.3)
    config.optimizer.ema = decay
    record = train(config, tmp_path, digits)
    program = make_program(make_plan(config, digits), digits)
    last = load_run(tmp_path, "last")
    error = program.evaluate(last.variables, digits.test)["error"]
    assert record["metrics"]["test_error_last"] == round(100 * error, 4)
    layers = {layer["path"]: layer["nonzeros"] for layer in record["layers"]}
    for name, layer in last.variables["params"].items():
        assert np.count_nonzero(layer["kernel"]) == layers[f"{name}/kernel"]


@pytest.mark.slow
def test_an_average_that_is_not_the_weights(tiny, digits):
    config = tiny(name="rigl", density=0.3)
    config.optimizer.ema = 0.95
    program = make_program(make_plan(config, digits), digits)
    placed = program.place(program.init([jax.random.key(0)]))
    index = np.arange(64 * 10, dtype=np.int32).reshape(1, 10, 64)
    placed, _ = program.run(placed, index, 10)
    (state,) = program.fetch(placed)
    params = program.networks([state])[0]["params"]["Dense_0"]["kernel"]
    assert (np.asarray(params) != np.asarray(state.params["Dense_0"]["kernel"])).any()


@pytest.mark.parametrize("decay", [-0.1, 1.0, float("nan")])
def test_decays_that_cannot_be(decay, tiny, digits):
    config = tiny(name="dense")
    config.optimizer.ema = decay
    with pytest.raises(UserError, match="optimizer.ema: got"):
        make_plan(config, digits)


@pytest.mark.parametrize("field, value", [("ema", 0.9), ("name", "schedule_free_sgd")])
def test_methods_that_compare_losses_of_the_trained_weights(field, value, tiny, digits):
    config = tiny(name="lobster", density=0.1)
    config.optimizer[field] = value
    config.optimizer.arguments = ConfigDict()
    with pytest.raises(UserError, match=f"optimizer.{field}: got .*the method lobster"):
        make_plan(config, digits)
