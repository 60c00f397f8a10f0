"""What is exported is smaller, and computes what the masked network does."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gpnas import deploy, models
from gpnas.deploy import compact_network, dense_network


@pytest.mark.slow
@pytest.mark.parametrize("name", ["lenet300", "lenet5", "resnet", "own", "fixed"])
def test_smaller_and_the_same(subject, name):
    module, variables, shape, images = subject(name)
    dense, small = dense_network(module, variables), compact_network(module, variables, shape)
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
    small = compact_network(module, variables, shape)
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
    assert deploy.dense_network(module, variables).macs(shape) == first + second + 6 * 10 + 10 * 10
