"""Two small networks, and `Forward` made of them by hand."""

import contextlib
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import optax
import pytest

from gpnas.gates import Forward

CLASSES = 5


class Mlp(nn.Module):
    """A chain of dense layers."""

    widths: tuple[int, ...] = (7, 6, CLASSES)
    activation: Callable = nn.relu

    @nn.compact
    def __call__(self, x):
        for width in self.widths[:-1]:
            x = self.activation(nn.Dense(width, bias_init=nn.initializers.normal(0.5))(x))
        return nn.Dense(self.widths[-1])(x)


class ConvNet(nn.Module):
    """Two convolutions, the second with strides, and a dense layer."""

    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Conv(3, (3, 3))(x))
        x = nn.relu(nn.Conv(4, (2, 2), (2, 2), bias_init=nn.initializers.normal(0.5))(x))
        return nn.Dense(CLASSES)(x.reshape(x.shape[0], -1))


class Net(NamedTuple):
    """A network, its parameters and a batch."""

    module: nn.Module
    params: Any
    images: jax.Array
    labels: jax.Array

    @property
    def forward(self) -> Forward:
        return _forward_of(self.module, self.images, self.labels)

    def look(self, sensitivity: Callable, *args: Any) -> Any:
        """`sensitivity(forward, params, …)`, compiled."""
        return jax.jit(lambda params: sensitivity(self.forward, params, *args))(self.params)


def _forward_of(module, images, labels):
    """The network on a batch."""

    def logits(params, intercept=None):
        with nn.intercept_methods(intercept) if intercept else contextlib.nullcontext():
            return module.apply({"params": params}, images), {}

    def loss(params, intercept=None):
        losses = optax.softmax_cross_entropy_with_integer_labels(
            logits(params, intercept)[0], labels
        )
        return losses.mean(), {}

    return Forward(logits, loss, labels)


def _net(module, shape, batch=8, seed=0):
    @jax.jit
    def made(key):
        one, two, three = jax.random.split(key, 3)
        images = jax.random.normal(one, (batch, *shape))
        labels = jax.random.randint(two, (batch,), 0, CLASSES - 1)  # the last class has no images
        return module.init(three, images)["params"], images, labels

    return Net(module, *made(jax.random.key(seed)))


@pytest.fixture(scope="session")
def forward_of():
    """`(module, images, labels) → Forward`."""
    return _forward_of


@pytest.fixture(scope="session")
def mlp():
    """`(widths, activation) → Net` of dense layers, 4 inputs."""
    return functools.cache(lambda *args: _net(Mlp(*args), (4,)))


@pytest.fixture(scope="session")
def convnet():
    """`Net` with convolutions, on 4 × 6 × 2 images."""
    return _net(ConvNet(), (4, 6, 2))


@pytest.fixture(scope="session", params=["mlp", "convnet"])
def net(request, mlp, convnet):
    """Each of the two."""
    return {"mlp": mlp(), "convnet": convnet}[request.param]


@pytest.fixture(scope="session")
def on_devices():
    """`(sensitivity, Net, devices) → S` as each of some devices finds it, by parts of the batch."""

    def found(sensitivity, net, devices):
        def one(images, labels):
            forward = _forward_of(net.module, images, labels)
            forward = forward._replace(mean=lambda tree: jax.lax.pmean(tree, "data"))
            return sensitivity(forward, net.params)

        parts = (x.reshape(devices, -1, *x.shape[1:]) for x in (net.images, net.labels))
        return jax.jit(jax.vmap(one, axis_name="data"))(*parts)

    return found


@pytest.fixture(autouse=True)
def arithmetic(strict: None) -> None:
    """No implicit change of dtype or rank."""
