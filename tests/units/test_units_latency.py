"""Latency from a table: its layers, what is read between its points, and real measurements."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from nets import NETS

from gpnas import units
from gpnas.errors import UserError

pytestmark = pytest.mark.usefixtures("lenient")

PARAMS = {"a": np.ones((8, 6), np.float32), "b": np.ones((6, 2), np.float32)}


def counted() -> units.CostModel:
    return units.cost_model(lambda p, x: jax.nn.relu(x @ p["a"]) @ p["b"], PARAMS, np.ones((4, 8)))


def made_up(model: units.CostModel) -> dict:
    """2 ms and 1 ms a unit for the first layer; 0.5 ms a unit, up to 3 of them, for the second."""
    first, second = (layer.key for layer in model.layers)
    return {
        first: {"widths": [[1, 6]], "ms": [3.0, 8.0]},
        second: {"widths": [[1, 3, 6]], "ms": [0.5, 1.5, 1.4]},
    }


@pytest.mark.slow
def test_time_is_read_between_the_points_of_the_table():
    model = counted()
    table = json.loads(json.dumps(made_up(model)))
    for active, total, one in ((6, 8 + 1.5, 1.0), (4, 6 + 1.5, 1.0), (2, 4 + 1.0, 1.5)):
        masks = {"a:1": np.arange(6) < active}
        assert units.total_latency(model, masks, table) == pytest.approx(total)
        cost = units.unit_latency(model, masks, table)["a:1"]
        assert cost[:active] == pytest.approx(one)
        traced = jax.jit(lambda m: units.unit_latency(model, m, table))(
            {"a:1": jnp.asarray(masks["a:1"])}
        )
        np.testing.assert_allclose(traced["a:1"], cost, rtol=1e-5)
    cost = units.unit_latency(model, {"a:1": np.arange(6) < 2}, table)["a:1"]
    assert cost[2:] == pytest.approx(1 + 0.5)  # cost of growing a third one


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnext", "vit"])
def test_layers_of_all_widths_are_measured(name):
    net = NETS[name]()
    model = units.cost_model(net.apply, net.variables, *net.inputs)
    table = units.measure_layers(model, fractions=(0.5, 1.0), rounds=1)
    assert set(table) == {layer.key for layer in model.layers}
    for layer in model.layers:
        entry = table[layer.key]
        assert np.shape(entry["ms"]) == tuple(len(w) for w in entry["widths"])
        assert np.all(np.array(entry["ms"]) > 0)
        assert [w[-1] for w in entry["widths"]] == list(layer.widths)
    assert units.measure_layers(model, table) == table  # nothing is timed again
    assert units.total_latency(model, {}, table) > 0


def test_layers_say_what_they_are():
    net = NETS["resnext"]()
    model = units.cost_model(net.apply, net.variables, *net.inputs)
    grouped = next(layer for layer in model.layers if "a·b" in layer.key)
    assert "(2 4 4 a·b; 3 3 b a·c) a≤4, b≤2, c≤2" in grouped.key
    function, shapes = grouped.build((3, 2, 1))
    assert shapes == [(2, 4, 4, 6), (3, 3, 2, 3)]
    assert jax.eval_shape(function, *map(jnp.ones, shapes)).shape == (2, 4, 4, 3)


def test_a_layer_that_was_not_measured_is_a_users_mistake():
    model = counted()
    for latency in (units.total_latency, units.unit_latency):
        with pytest.raises(UserError, match="dot_general"):
            latency(model, {}, {})
