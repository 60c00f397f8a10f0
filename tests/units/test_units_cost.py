"""What a network costs: against XLA's own count, and formulas of the papers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gpnas.masks import full, maskable, put, schedule
from gpnas.methods import METHODS
from gpnas.models import LeNet5, LeNet300, ResNet
from gpnas.units import macs_per_weight, network_cost, training_macs

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


@pytest.mark.parametrize("name", NETWORKS)
def test_macs_are_those_that_xla_counts(name):
    module, shape = NETWORKS[name]
    variables = shapes_of(module, shape)
    images = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
    flops = jax.jit(module.apply).lower(variables, images).compile().cost_analysis()["flops"]
    params = variables["params"]
    masks = jax.tree.map(lambda p: np.ones(p.shape if len(p.shape) > 1 else (), bool), params)
    cost = network_cost(params, masks, macs_per_weight(module, shape))
    padding = 0.08 if name == "resnet8" else 0.02  # XLA leaves out products with zeros around
    assert 2 * cost.inference_macs == pytest.approx(flops, rel=padding)


def test_macs_of_lenets_by_hand():
    module, shape = NETWORKS["lenet300"]
    assert macs_per_weight(module, shape) == {f"Dense_{i}/kernel": 1 for i in range(3)}
    module, shape = NETWORKS["lenet5"]
    assert macs_per_weight(module, shape) == {
        "Conv_0/kernel": 24 * 24, "Conv_1/kernel": 8 * 8, "Dense_0/kernel": 1, "Dense_1/kernel": 1,
    }  # fmt: skip


def test_the_cost_of_a_masked_network():
    module, shape = LeNet5(widths=(4, 6, 8)), (20, 20, 1)
    params = jax.tree.map(lambda p: jnp.zeros(p.shape), shapes_of(module, shape)["params"])
    masks = full(params)
    live = maskable(masks)
    half = {p: jnp.arange(m.size).reshape(m.shape) % 2 == 0 for p, m in live.items()}
    uses = macs_per_weight(module, shape)
    dense, sparse = network_cost(params, masks, uses), network_cost(params, put(masks, half), uses)
    weights = sum(m.size for m in live.values())
    biases = 4 + 6 + 8 + 10
    assert dense.params == weights + biases and dense.weights == dense.nonzeros == weights
    assert dense.inference_macs == dense.inference_macs_dense
    assert dense.inference_macs == sum(uses[p] * m.size for p, m in live.items())
    assert sparse.nonzeros == weights // 2 and sparse.density == 0.5
    assert sparse.nonzeros_with_bias == weights // 2 + biases
    assert sparse.inference_macs == dense.inference_macs // 2
    assert sparse.inference_macs_dense == dense.inference_macs


def test_training_cost_of_rigl_is_the_papers():
    steps, every, d = 10_000, 100, 0.1
    rigl = METHODS["rigl"](density=d, total_steps=steps, every=every, stop_at=1.0)
    fraction, mean = training_macs(rigl.density, rigl.dense_gradient, steps)
    paper = (3 * d * every + 2 * d + 1) / (every + 1) / 3
    assert fraction == pytest.approx(paper, rel=1e-3)
    assert mean == pytest.approx(d)


def test_training_cost_of_gmp_is_the_mean_of_its_curve():
    steps, d = 10_000, 0.02
    gmp = METHODS["gmp"](density=d, total_steps=steps, every=100, stop_at=0.75)
    fraction, mean = training_macs(gmp.density, gmp.dense_gradient, steps)
    by_hand = d + (1 - d) * 0.75 / 4  # the integral of (1 − x)³ is ¼
    assert mean == pytest.approx(by_hand, rel=1e-3)
    assert fraction == pytest.approx(mean, rel=1e-5)


def test_training_cost_at_the_ends():
    one, none = schedule.constant(1.0), schedule.constant(0.0)
    assert training_macs(one, one, 10) == pytest.approx((1.0, 1.0))
    assert training_macs(schedule.constant(0.3), none, 10)[0] == pytest.approx(0.3)
    assert training_macs(schedule.constant(0.3), one, 10)[0] == pytest.approx((0.6 + 1) / 3)
    topkast = METHODS["topkast"](density=0.2, extra=0.3, every=100)
    fraction, _ = training_macs(topkast.density, topkast.dense_gradient, 10)
    assert fraction == pytest.approx((2 * 0.2 + 0.5) / 3)
