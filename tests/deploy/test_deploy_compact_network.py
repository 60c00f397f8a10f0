"""What is exported is smaller, and computes what the masked network does."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import export

from gpnas import deploy, models
from gpnas.deploy import compact_network, dense_network
from tests.cases import some


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", some(["lenet300", "lenet5", "resnet", "own", "fixed"], ["lenet5", "own"])
)
def test_smaller_and_the_same(subject, name):
    module, variables, shape, images = subject(name)
    dense, small = (
        dense_network(models.linen(module), variables, shape),
        compact_network(models.linen(module), variables, shape),
    )
    assert small.params < dense.params
    np.testing.assert_allclose(
        small.apply(small.variables, images / 255),
        module.apply(variables, images / 255),
        rtol=1e-4,
        atol=1e-5,
    )
    assert (small.architecture is None) == (name in ("own", "fixed"))


def test_a_silent_block_goes_as_a_whole(subject):
    module, variables, shape, images = subject("resnet")
    block = variables["params"]["stage0_block0"]
    block["norm2"] = jax.tree.map(jnp.zeros_like, block["norm2"])
    small = compact_network(models.linen(module), variables, shape)
    assert small.architecture["fields"]["inner"][0] == 0
    assert "stage0_block0" not in small.variables["params"]
    assert "stage0_block0" not in small.variables["batch_stats"]
    np.testing.assert_allclose(
        small.apply(small.variables, images / 255),
        module.apply(variables, images / 255),
        rtol=1e-4,
        atol=1e-5,
    )


def test_macs_are_those_of_the_widths():
    module, shape = models.LeNet5(widths=(4, 6, 10)), (16, 16, 1)
    variables = module.init(jax.random.key(0), jnp.zeros((1, *shape)))
    first, second = 12 * 12 * 25 * 4, 2 * 2 * 25 * 4 * 6
    assert (
        deploy.dense_network(models.linen(module), variables, shape).macs(shape)
        == first + second + 6 * 10 + 10 * 10
    )


class Nnx(nnx.Module):
    """A network of another library than Linen, with batch statistics."""

    def __init__(self, rngs):
        self.first = nnx.Linear(12, 8, rngs=rngs)
        self.norm = nnx.BatchNorm(8, rngs=rngs)
        self.last = nnx.Linear(8, 3, rngs=rngs)

    def __call__(self, x):
        return self.last(nnx.relu(self.norm(self.first(x.reshape(len(x), -1)))))


def equinox_network():
    eqx = pytest.importorskip("equinox")

    class Net(eqx.Module):
        first: eqx.nn.Linear
        last: eqx.nn.Linear

        def __init__(self, key):
            one, two = jax.random.split(key)
            self.first = eqx.nn.Linear(12, 8, key=one)
            self.last = eqx.nn.Linear(8, 3, key=two)

        def __call__(self, x):
            return self.last(jax.nn.relu(self.first(x.reshape(-1))))

    return models.from_equinox(Net)


@pytest.mark.slow
@pytest.mark.parametrize("library", ["nnx", "equinox"])
def test_networks_of_other_libraries(library):
    model = {"nnx": lambda: models.from_nnx(Nnx), "equinox": equinox_network}[library]()
    images = jax.random.normal(jax.random.key(1), (5, 2, 2, 3))
    variables = model.init(jax.random.key(0), images)

    def prune(leaf):  # units 0 to 4 of the hidden layer neither get nor give anything
        if leaf.ndim != 2:
            return leaf
        hidden = leaf.shape.index(8)
        return leaf.at[:, :5].set(0) if hidden == 1 else leaf.at[:5].set(0)

    def silent(path, leaf):
        first = "first" in jax.tree_util.keystr(path) and leaf.ndim == 1
        return leaf.at[:5].set(0) if first else leaf

    params = jax.tree.map(prune, variables["params"])
    variables = {**variables, "params": jax.tree_util.tree_map_with_path(silent, params)}
    small = deploy.compact_network(model, variables, (2, 2, 3))
    sizes = sorted(leaf.size for leaf in jax.tree.leaves(small.variables["params"]))
    assert small.params < deploy.dense_network(model, variables, (2, 2, 3)).params and 9 in sizes
    np.testing.assert_allclose(
        small.apply(small.variables, images), model.infer(variables, images), atol=1e-5
    )


class Length(nn.Module):
    """A network that needs the number of images to be a number."""

    @nn.compact
    def __call__(self, images):
        """(batch, 2, 2, 3) → (batch, 3)."""
        return nn.Dense(3)(nn.relu(nn.Dense(8)(images.reshape(len(images), -1))))


@pytest.mark.parametrize("make", [dense_network, compact_network])
def test_a_network_that_reads_the_batch_size_takes_any(make):
    images = jax.random.normal(jax.random.key(1), (5, 2, 2, 3))
    variables = Length().init(jax.random.key(0), images)
    network = make(models.linen(Length()), variables, (2, 2, 3))
    symbolic = jax.ShapeDtypeStruct((*export.symbolic_shape("b"), 2, 2, 3), jnp.float32)
    exported = export.export(jax.jit(network.apply))(network.variables, symbolic)
    np.testing.assert_allclose(
        exported.call(network.variables, images), Length().apply(variables, images), atol=1e-5
    )


@pytest.mark.parametrize("inner", [(0, 8, 16), (4, 0, 16), (0, 0, 0)])
def test_a_network_that_has_lost_a_block(inner):
    module = models.ResNet(width=4, inner=inner)
    images = jax.random.uniform(jax.random.key(0), (3, 8, 8, 1))
    # Scales that are initialized with zeros would make the other blocks silent.
    variables = jax.tree.map(lambda x: x + 0.1, module.init(jax.random.key(1), images))
    small = compact_network(models.linen(module), variables, images.shape[1:])
    assert small.architecture["fields"]["inner"] == list(inner)
    np.testing.assert_allclose(
        small.apply(small.variables, images), module.apply(variables, images), rtol=1e-4, atol=1e-5
    )
