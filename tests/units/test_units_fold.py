"""Constant units are folded into the biases of their consumers, and the function stays."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import nets
import numpy as np
import pytest

from gpnas import units

pytestmark = pytest.mark.usefixtures("lenient")


class Stack(nn.Module):
    """Convolutions, pooling, a norm, dense layers."""

    padding: str = "VALID"
    norm: bool = False
    bias: bool = True
    shared: bool = False
    last: type = nn.Dense

    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Conv(4, (3, 3), padding=self.padding, name="first")(x))
        if self.norm:
            x = nn.BatchNorm(use_running_average=True)(x)
        x = nn.max_pool(x, (2, 2), (2, 2))
        x = nn.relu(nn.Conv(6, (3, 3), padding=self.padding, use_bias=self.bias, name="second")(x))
        x = nn.relu(nn.Dense(5, name="third")(x.reshape(x.shape[0], -1)))
        last = self.last(3, name="last")
        return last(x) + last(2 * x) if self.shared else last(x)


def pruned(module, zeros):
    """Variables with random biases and some kernels' columns zero, groups, images."""
    images = jax.random.normal(jax.random.key(0), (3, 14, 14, 2))
    variables = module.init(jax.random.key(1), images)
    groups = units.discover(module.apply, variables, images)
    rng = np.random.default_rng(0)
    params = jax.tree.map(
        lambda x: jnp.asarray(rng.normal(size=x.shape), x.dtype) if x.ndim == 1 else x,
        variables["params"],
    )
    for layer, columns in zeros.items():
        kernel = params[layer]["kernel"]
        params[layer]["kernel"] = kernel.at[..., columns].set(0)
    return dict(variables) | {"params": params}, groups, images


def active_sizes(module, zeros):
    """How many units live of each layer after folding; the function is looked at."""
    variables, groups, images = pruned(module, zeros)
    folded = units.fold_constants(module.apply, variables, groups, images)
    np.testing.assert_allclose(
        module.apply(folded, images), module.apply(variables, images), rtol=1e-5, atol=1e-5
    )
    masks = units.active_units(groups, {"params": folded["params"]})
    return {name.split("/")[1]: int(mask.sum()) for name, mask in masks.items()}


@pytest.mark.slow
@pytest.mark.parametrize("norm", [False, True])
def test_filters_of_zero_kernels_go(norm):
    zeros = {"first": [0, 2, 3], "second": [1], "third": [0, 4]}
    assert active_sizes(Stack(norm=norm), zeros) == {"first": 1, "second": 5, "third": 3}


def test_a_consumer_of_constants_alone_is_a_constant():
    assert active_sizes(Stack(), {"first": [0, 1, 2, 3]}) == {"first": 1, "second": 1, "third": 1}


@pytest.mark.slow
@pytest.mark.parametrize(
    "module",
    [
        Stack(padding="SAME"),  # a constant is not the same at the border
        Stack(bias=False),  # nowhere to put it
    ],
)
def test_what_cannot_be_folded_stays(module):
    assert active_sizes(module, {"first": [0, 2, 3]})["first"] == 4


def test_a_layer_that_is_called_twice_is_left_alone():
    assert active_sizes(Stack(shared=True), {"third": [0]})["third"] == 5


def test_a_layer_that_is_traced_is_left_alone():
    assert active_sizes(Stack(last=nn.remat(nn.Dense)), {"third": [0]})["third"] == 5


def test_one_that_is_not_constant_is_left_alone():
    variables, groups, images = pruned(Stack(), {})
    folded = units.fold_constants(Stack().apply, variables, groups, images)
    assert jax.tree.all(jax.tree.map(jnp.array_equal, folded, variables))


def test_a_network_without_constants_is_not_evaluated():
    def apply_fn(variables, images):
        raise AssertionError("evaluated")

    for zeros in ({}, {"first": [1]}):  # an inactive unit: nothing reads its constant
        variables, groups, images = pruned(Stack(), zeros)
        second = variables["params"]["second"]
        second["kernel"] = second["kernel"].at[:, :, zeros.get("first", [])].set(0)
        folded = units.fold_constants(apply_fn, variables, groups, images)
        assert jax.tree.all(jax.tree.map(jnp.array_equal, folded, variables))


@pytest.mark.slow
@pytest.mark.parametrize("name", nets.USUAL)
def test_the_function_of_any_network_stays(name):
    apply, variables, inputs = nets.NETS[name]()
    groups = units.discover(apply, variables, *inputs)
    rng = np.random.default_rng(0)
    variables = jax.tree.map(
        lambda x: x * (rng.random(x.shape[-1]) > 0.4) if x.ndim > 1 else x + 0.3, variables
    )
    folded = units.fold_constants(apply, variables, groups, *inputs)
    expected = apply(variables, *inputs)
    np.testing.assert_allclose(apply(folded, *inputs), expected, rtol=1e-4, atol=1e-5)
