"""Eight devices train as one does: `jit` with a sharded batch, and `pmap`."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from sklearn.datasets import load_digits

from gpnas.masks import masked_leaves
from gpnas.methods import METHODS
from gpnas.models import linen
from gpnas.train import classification, init_state, make_step

STEPS, BATCH = 8, 64
METHOD_NAMES = ("development", pytest.param("rigl", marks=pytest.mark.exhaustive))


def task_of(module):
    return classification(linen(module))


class Net(nn.Module):
    """Two layers with batch statistics, and a counter of steps."""

    axis_name: str | None = None

    @nn.compact
    def __call__(self, images, train=False):
        x = nn.Dense(20)(images.reshape(images.shape[0], -1))
        calls = self.variable("count", "calls", lambda: jnp.int32(0))
        calls.value += jnp.int32(train)
        norm = nn.BatchNorm(use_running_average=not train, momentum=0.9, axis_name=self.axis_name)
        return nn.Dense(10)(nn.relu(norm(x)))


def batches():
    digits = load_digits()
    images = np.float32(digits.images[: STEPS * BATCH]) / 16
    labels = np.int32(digits.target[: STEPS * BATCH])
    return images.reshape(STEPS, BATCH, 8, 8, 1), labels.reshape(STEPS, BATCH)


def setup(name):
    method = {
        "rigl": lambda: METHODS["rigl"](density=0.3, total_steps=20, every=2),
        "development": lambda: METHODS["development"](
            density=0.1,
            total_steps=12,
            batch_size=BATCH,
            peak=3.0,
            every=2,
            window=1,
        ),
    }[name]()
    tx = optax.sgd(0.1, momentum=0.9)
    state = init_state(task_of(Net()), method, tx, jnp.zeros((1, 8, 8, 1)), jax.random.key(0))
    return method, tx, state


@functools.cache
def on_one(name):
    method, tx, state = setup(name)
    step, losses = jax.jit(make_step(task_of(Net()), method, tx)), []
    for batch in zip(*batches(), strict=True):
        state, metrics = step(state, batch)
        losses.append(float(metrics["loss"]))
    return state, losses


def with_jit(name):
    method, tx, state = setup(name)
    mesh = Mesh(np.array(jax.devices()), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    rows, everywhere = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in (("data",), ()))
    traces, plain = [], make_step(task_of(Net()), method, tx)

    def counted(*inputs):
        traces.append(1)
        return plain(*inputs)

    step = jax.jit(
        counted,
        in_shardings=(everywhere, rows),
        out_shardings=everywhere,
        donate_argnums=0,
    )
    state, losses = jax.device_put(state, everywhere), []
    for batch in zip(*batches(), strict=True):
        state, metrics = step(state, jax.device_put(batch, rows))
        losses.append(float(metrics["loss"]))
    assert len(traces) == 1
    return state, losses


def with_pmap(name):
    method, tx, state = setup(name)
    devices = jax.local_device_count()
    state = jax.tree.map(lambda x: jnp.stack([x] * devices), state)
    step, losses = (
        jax.pmap(make_step(task_of(Net("data")), method, tx, "data"), axis_name="data"),
        [],
    )
    for images, labels in zip(*batches(), strict=True):
        split = images.reshape(devices, -1, 8, 8, 1), labels.reshape(devices, -1)
        state, metrics = step(state, split)
        losses.append(float(metrics["loss"][0]))
    for leaf in jax.tree.leaves((state.masks, state.params)):
        assert (np.asarray(leaf) == np.asarray(leaf)[0]).all()
    return jax.tree.map(lambda x: x[0], state), losses


@pytest.mark.slow
@pytest.mark.parametrize("parallel", [with_jit, with_pmap], ids=["jit", "pmap"])
@pytest.mark.parametrize("name", METHOD_NAMES)
def test_many_devices_are_as_one(name, parallel):
    assert jax.device_count() == 8
    (one, losses), (many, other) = on_one(name), parallel(name)
    np.testing.assert_allclose(losses, other, rtol=1e-4)
    changed = 0
    for path, mask in masked_leaves(one.masks).items():
        np.testing.assert_array_equal(mask, masked_leaves(many.masks)[path])
        changed += int(one.counters.grown[path]) + int(one.counters.pruned[path])
    assert changed > 0
    for a, b in (
        (one.params, many.params),
        (one.model_state, many.model_state),
        (one.opt_state, many.opt_state),
    ):
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-3, atol=1e-5), a, b)
