"""Small runs with gates on the digits, and all that they saved."""

import contextlib

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

from gpnas.gates import Forward
from gpnas.train import base


@pytest.fixture(scope="session")
def forward():
    """`(module, images, labels) → Forward`: a network on one batch, as a train step gives it."""

    def make(module, images, labels):
        def logits(params, intercept=None):
            with nn.intercept_methods(intercept) if intercept else contextlib.nullcontext():
                return module.apply({"params": params}, images), {}

        def loss(params, intercept=None):
            logs = jax.nn.log_softmax(logits(params, intercept)[0])
            return -jnp.mean(jnp.take_along_axis(logs, labels[:, None], 1)), "out"

        return Forward(logits, loss, labels)

    return make


@pytest.fixture(scope="session")
def tiny():
    """`(**method) → config`: a run of 80 steps of a network of 1,344 weights."""

    def make(**method):
        config = base(**method)
        config.data.name = "digits"
        config.model.widths = (16, 12)
        config.train.epochs = 4
        config.train.batch_size = 64
        config.train.log_every = 5
        config.train.checkpoint_seconds = 0.0
        config.train.tensorboard = False
        return config

    return make


@pytest.fixture(scope="module")
def saved(all_saves):
    """`{folder: {step: [state of each replica]}}` of all checkpoints, as arrays of NumPy."""
    with all_saves() as found:
        yield found
