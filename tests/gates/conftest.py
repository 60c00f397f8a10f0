"""Small runs with gates on the digits, compiled in a hurry, and all that they saved."""

import contextlib

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gpnas import data
from gpnas.gates import Forward
from gpnas.train import Stopped, base, checkpoint, loop


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
def digits(tmp_path_factory):
    """The digits; 1,293 of them to train on."""
    return data.load("digits", cache_dir=tmp_path_factory.mktemp("cache"))


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


@pytest.fixture
def stop_at(monkeypatch):
    """`step → context` in which a run is asked to stop at its first log point from that step on."""

    @contextlib.contextmanager
    def stopping(step):
        seen = [0]
        log = loop._log

        def watched(lane, counts, *rest):
            seen[0] = int(counts.step)
            return log(lane, counts, *rest)

        @contextlib.contextmanager
        def signal():
            yield lambda: seen[0] >= step

        with monkeypatch.context() as patch, pytest.raises(Stopped):
            patch.setattr(loop, "_log", watched)
            patch.setattr(loop, "stop_signal", signal)
            yield

    return stopping


def plain(leaf):
    key = jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return np.array(jax.random.key_data(leaf) if key else leaf)


@pytest.fixture(scope="module")
def saved():
    """`{folder: {step: [state of each lane]}}` of all checkpoints, as arrays of NumPy."""
    found, save = {}, checkpoint.save

    def keep(folder, step, tree):
        save(folder, step, tree)
        found.setdefault(folder.parent, {})[step] = jax.tree.map(plain, tree[0])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint, "save", keep)
        yield found
