"""What a network costs: against XLA's own count, and formulas of the papers."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gpnas.masks import init_masks, masked_leaves, schedule, update_leaves
from gpnas.methods import METHODS
from gpnas.models import CellNet, LeNet5, LeNet300, ResNet, network_macs
from gpnas.units import cost_model, macs, network_cost, total_cost, training_macs
from tests.cases import some

pytestmark = pytest.mark.usefixtures("lenient")

NETWORKS = {
    "lenet300": (LeNet300(), (28, 28, 1)),
    "lenet5": (LeNet5(), (28, 28, 1)),
    "lenet5 im2col": (LeNet5(conv="im2col"), (28, 28, 1)),
    "resnet8": (ResNet(width=16), (32, 32, 3)),
}


def shapes_of(module, shape):
    """Parameters as shapes."""
    images = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
    return jax.eval_shape(module.init, jax.random.key(0), images)


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_macs_are_those_that_xla_counts(name):
    module, shape = NETWORKS[name]
    variables = shapes_of(module, shape)
    images = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
    flops = jax.jit(module.apply).lower(variables, images).compile().cost_analysis()["flops"]
    params = variables["params"]
    masks = jax.tree.map(lambda p: np.ones(p.shape if len(p.shape) > 1 else (), bool), params)
    cost = network_cost(params, masks, network_macs(module, variables, shape))
    padding = 0.08 if name == "resnet8" else 0.02  # XLA leaves out products with zeros around
    assert 2 * cost.inference_macs == pytest.approx(flops, rel=padding)


@pytest.mark.slow
def test_macs_of_lenets_by_hand():
    module, shape = NETWORKS["lenet300"]
    counted = network_macs(module, shapes_of(module, shape), shape)
    assert counted == ({f"Dense_{i}/kernel": 1 for i in range(3)}, 0)
    module, shape = NETWORKS["lenet5"]
    assert network_macs(module, shapes_of(module, shape), shape).per_weight == {
        "Conv_0/kernel": 24 * 24, "Conv_1/kernel": 8 * 8, "Dense_0/kernel": 1, "Dense_1/kernel": 1,
    }  # fmt: skip


# As the records of these networks have them, which were counted layer by layer.
RECORDED = {
    "lenet300": (LeNet300(), (28, 28, 1), 266_200),
    "lenet5": (LeNet5(), (28, 28, 1), 2_293_000),
    "resnet": (ResNet(), (32, 32, 3), 12_501_632),
    "cellnet": (CellNet(), (32, 32, 3), 54_968_960),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", some(RECORDED, ["lenet5", "resnet"]))
@pytest.mark.parametrize("conv", ["xla", "im2col"])
def test_macs_are_those_of_the_records(name, conv):
    module, shape, expected = RECORDED[name]
    module = module if name == "lenet300" else module.clone(conv=conv)
    variables = shapes_of(module, shape)
    assert network_macs(module, variables, shape).total(variables["params"]) == expected
    model = cost_model(module.apply, variables, jax.ShapeDtypeStruct((1, *shape), jnp.float32))
    assert total_cost(model, {}, "macs") == pytest.approx(expected, rel=1e-12)


class General(nn.Module):
    @nn.compact
    def __call__(self, images):
        x = nn.DenseGeneral((4, 8), axis=(1, 2, 3))(images)
        return nn.DenseGeneral(10, axis=(-2, -1))(nn.relu(x))


class Attention(nn.Module):
    @nn.compact
    def __call__(self, images):
        x = nn.Dense(16)(images.reshape(1, 8, 8))
        x = x + nn.MultiHeadDotProductAttention(num_heads=4)(x)
        return nn.Dense(10)(x.mean(1))


class Scanned(nn.Module):
    @nn.compact
    def __call__(self, images):
        stack = nn.scan(
            lambda layer, x, _: (nn.relu(layer(x)), None),
            variable_axes={"params": 0}, split_rngs={"params": True}, length=3,
        )  # fmt: skip
        return nn.Dense(10)(stack(nn.Dense(64, name="layer"), images.reshape(1, -1), None)[0])


def test_macs_of_general_layers():
    counted = network_macs(General(), shapes_of(General(), (8, 8, 1)), (8, 8, 1))
    assert counted == ({"DenseGeneral_0/kernel": 1, "DenseGeneral_1/kernel": 1}, 0)


def test_attention_scores_are_macs_that_no_mask_reduces():
    variables = shapes_of(Attention(), (8, 8, 1))
    counted = network_macs(Attention(), variables, (8, 8, 1))
    name = "MultiHeadDotProductAttention_0"
    parts = [f"{name}/{part}/kernel" for part in ("query", "key", "value", "out")]
    assert counted.per_weight == {
        "Dense_0/kernel": 8,
        **dict.fromkeys(parts, 8),
        "Dense_1/kernel": 1,
    }
    assert counted.others == 2 * 8 * 8 * 16  # scores, and the sum of values by them
    params = variables["params"]
    none = jax.tree.map(lambda p: np.zeros(p.shape if len(p.shape) > 1 else (), bool), params)
    cost = network_cost(params, none, counted)
    assert cost.inference_macs == counted.others
    assert cost.inference_macs_dense == 8 * 8 * 16 + 4 * 8 * 16 * 16 + 160 + 2 * 8 * 8 * 16


def test_macs_of_layers_in_a_scan():
    counted = network_macs(Scanned(), shapes_of(Scanned(), (8, 8, 1)), (8, 8, 1))
    assert counted == ({"layer/kernel": 1, "Dense_0/kernel": 1}, 0)


def test_macs_of_a_function_whose_weights_come_by_detours():
    def apply(params, x):
        kernel = params["a"] - params["a"].mean(0, keepdims=True)  # standardised
        y = x @ kernel.reshape(8, 6).astype(x.dtype)
        return (y * params["scale"]) @ (params["b"] @ params["c"])

    leaves = {"a": (4, 2, 6), "b": (6, 2), "c": (2, 3), "scale": (1, 6)}
    params = {name: jnp.ones(shape) for name, shape in leaves.items()}
    counted = macs(apply, params, jnp.ones((1, 8)))
    assert counted.per_weight == {"a": 1, "scale": 1}
    assert counted.others == 6 * 2 * 3 + 6 * 3  # b @ c, and what is multiplied by it


@pytest.mark.slow
def test_the_cost_of_a_masked_network():
    module, shape = LeNet5(widths=(4, 6, 8)), (20, 20, 1)
    params = jax.tree.map(lambda p: jnp.zeros(p.shape), shapes_of(module, shape)["params"])
    masks = init_masks(params)
    live = masked_leaves(masks)
    half = {p: jnp.arange(m.size).reshape(m.shape) % 2 == 0 for p, m in live.items()}
    macs = network_macs(module, {"params": params}, shape)
    dense, sparse = (
        network_cost(params, masks, macs),
        network_cost(params, update_leaves(masks, half), macs),
    )
    weights = sum(m.size for m in live.values())
    biases = 4 + 6 + 8 + 10
    assert dense.params == weights + biases and dense.weights == dense.nonzeros == weights
    assert dense.inference_macs == dense.inference_macs_dense
    assert dense.inference_macs == sum(macs.per_weight[p] * m.size for p, m in live.items())
    assert sparse.nonzeros == weights // 2 and sparse.density == 0.5
    assert sparse.nonzeros_with_bias == weights // 2 + biases
    assert sparse.inference_macs == dense.inference_macs // 2
    assert sparse.inference_macs_dense == dense.inference_macs


def test_training_cost_of_rigl_is_the_papers():
    steps, every, d = 10_000, 100, 0.1
    rigl = METHODS["rigl"](density=d, total_steps=steps, every=every, stop_at=1.0)
    fraction, mean = training_macs(rigl.forecast.density, rigl.forecast.dense_gradient, steps)
    paper = (3 * d * every + 2 * d + 1) / (every + 1) / 3
    assert fraction == pytest.approx(paper, rel=1e-3)
    assert mean == pytest.approx(d)


def test_training_cost_of_gmp_is_the_mean_of_its_densities():
    steps, d = 10_000, 0.02
    gmp = METHODS["gmp"](density=d, total_steps=steps, every=100, stop_at=0.75)
    fraction, mean = training_macs(gmp.forecast.density, gmp.forecast.dense_gradient, steps)
    # Masks change at every 100th step: the sum of k³ from 1 to n is (n(n + 1)/2)².
    by_hand = d + (1 - d) * 0.75 * (76 / 75) ** 2 / 4
    assert mean == pytest.approx(by_hand, rel=1e-5)
    assert fraction == pytest.approx(mean, rel=1e-5)


def test_training_cost_at_the_ends():
    one, none = schedule.constant(1.0), schedule.constant(0.0)
    assert training_macs(one, one, 10) == pytest.approx((1.0, 1.0))
    assert training_macs(schedule.constant(0.3), none, 10)[0] == pytest.approx(0.3)
    assert training_macs(schedule.constant(0.3), one, 10)[0] == pytest.approx((0.6 + 1) / 3)
    topkast = METHODS["topkast"](density=0.2, extra=0.3, every=100)
    fraction, _ = training_macs(topkast.forecast.density, topkast.forecast.dense_gradient, 10)
    assert fraction == pytest.approx((2 * 0.2 + 0.5) / 3)


def test_a_loop_that_may_not_run_returns_its_operands():
    """So a layer behind it multiplies activations, even if the body overwrites them."""

    def apply(variables, x):
        def body(carry):
            return jnp.zeros_like(carry[0]) + variables["bias"], carry[1] + 1

        carry = jax.lax.while_loop(lambda carry: carry[1] < 1, body, (x @ variables["a"], 0))
        return carry[0] @ variables["b"]

    variables = {"a": jnp.ones((3, 4)), "b": jnp.ones((4, 2)), "bias": jnp.ones(4)}
    found = macs(apply, variables, jnp.ones((1, 3)))
    assert found.per_weight == {"a": 1, "b": 1} and found.others == 0
