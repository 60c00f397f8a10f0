"""The output layers of networks: what is multiplied last, whatever its name."""

import jax
import jax.numpy as jnp
import pytest

from gpnas import models, units
from tests.units import nets

pytestmark = pytest.mark.usefixtures("lenient")

X = jnp.ones((2, 4))
MODELS = {
    "lenet300": (models.LeNet300(widths=(4, 3)), (5, 5, 1), "Dense_2"),
    "lenet5": (models.LeNet5(widths=(2, 3, 4)), (28, 28, 1), "Dense_1"),
    "convnet": (models.ConvNet(widths=(2, 3, 3, 4)), (8, 8, 3), "classifier"),
    "resnet": (models.ResNet(width=2, blocks=1), (8, 8, 3), "classifier"),
    "cellnet": (models.CellNet(channels=2), (8, 8, 3), "classifier"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_of_our_networks(name):
    module, shape, classifier = MODELS[name]
    images = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
    variables = jax.eval_shape(module.init, jax.random.key(0), images)
    found = units.output_layers(models.linen(module).infer, variables, images)
    assert found == [f"params/{classifier}/kernel"]


def weights(**shapes):
    return {name: nets.weight(i, *shape) for i, (name, shape) in enumerate(shapes.items())}


def two_heads(p, x):
    hidden = jnp.tanh(x @ p["z"])
    return hidden @ p["b"], jax.nn.softmax(hidden @ p["a"] + p["bias"])


def skip(p, x):
    return jnp.tanh(x @ p["z"]) @ p["a"] + x @ p["b"]


def factored(p, x):
    return jnp.tanh(x @ p["z"]) @ (p["a"] @ p["b"])


def attention(p, x):
    q, k, v = (x @ p[name] for name in "abz")
    return jax.nn.softmax(q @ k.T) @ v


def tied(p, x):
    return jnp.tanh(x @ p["z"]) @ p["z"].T * p["scale"]


def loop(p, x):
    return jax.lax.fori_loop(0, 2, lambda i, x: jnp.tanh(x @ p["z"]), x @ p["a"])


def recomputed(p, x):
    return jax.checkpoint(lambda x: x @ p["a"])(jnp.tanh(x @ p["z"]))


@pytest.mark.parametrize(
    ("apply", "shapes", "expected"),
    [
        (two_heads, {"z": (4, 4), "a": (4, 3), "b": (4, 2), "bias": (1, 3)}, ["a", "b"]),
        (skip, {"z": (4, 4), "a": (4, 3), "b": (4, 3)}, ["a", "b"]),
        (factored, {"z": (4, 4), "a": (4, 2), "b": (2, 3)}, ["a", "b"]),
        (attention, {"a": (4, 3), "b": (4, 3), "z": (4, 3)}, ["a", "b", "z"]),
        (tied, {"z": (4, 3), "scale": (1, 4)}, ["z"]),
        (loop, {"a": (4, 4), "z": (4, 4)}, ["z"]),
        (recomputed, {"a": (4, 3), "z": (4, 4)}, ["a"]),
        (lambda p, x: x, {"a": (4, 3)}, []),
    ],
)
def test_by_order_of_use(apply, shapes, expected):
    assert units.output_layers(apply, weights(**shapes), X) == expected
