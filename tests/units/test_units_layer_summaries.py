"""A network layer by layer: sums are those of the whole, and zeros are counted."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from gpnas import units
from gpnas.models import LeNet300, linen


def test_layers_of_a_pruned_network():
    model = linen(LeNet300(widths=(16, 8)))
    images = jnp.zeros((1, 4, 4, 1))
    variables = model.init(jax.random.key(0), images)
    kernel = variables["params"]["Dense_1"]["kernel"]
    variables["params"]["Dense_1"]["kernel"] = kernel.at[:4].set(0)  # readers of four units
    layers, others = units.layer_summaries(model.infer, variables, images)
    assert [layer.name for layer in layers] == ["Dense_0", "Dense_1", "Dense_2"]
    assert layers[0].shapes == {"bias": (16,), "kernel": (16, 16)}
    assert [layer.params for layer in layers] == [16 * 17, 8 * 17, 10 * 9]
    assert [(layer.active, layer.weights) for layer in layers][1] == (96, 128)
    assert [(layer.active_units, layer.units) for layer in layers] == [(12, 16), (8, 8), (0, 0)]
    whole = units.macs(model.infer, variables, images).total(variables)
    assert sum(layer.macs for layer in layers) == whole and others == 0


def test_products_of_activations_and_leaves_without_a_layer():
    def attend(variables, x):
        queries = x @ variables["w"]
        return nn.softmax(queries @ queries.T) @ x

    variables, x = {"w": jnp.ones((6, 4))}, jnp.ones((5, 6))
    (layer,), others = units.layer_summaries(attend, variables, x)
    assert (layer.name, layer.macs, layer.units) == ("w", 5 * 6 * 4, 4)
    assert others == 5 * 5 * 4 + 5 * 5 * 6
