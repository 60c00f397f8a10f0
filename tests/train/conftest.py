"""Small runs on the digits."""

import contextlib

import jax
import numpy as np
import pytest

from gpnas.train import _checkpoint, base


@pytest.fixture(scope="session")
def tiny():
    """`(**method) → config`: a run of 80 steps of a network of 2,720 weights."""

    def make(**method):
        config = base(**method)
        config.data.name = "digits"
        config.model.widths = (32, 16)
        config.train.epochs = 4
        config.train.batch_size = 64
        config.train.log_every = 7
        config.train.checkpoint_seconds = 0.0
        config.train.tensorboard = False
        return config

    return make


@contextlib.contextmanager
def _watched_saves():
    found, save = {}, _checkpoint.save

    def plain(leaf):
        key = jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        return np.array(jax.random.key_data(leaf) if key else leaf)

    def keep(folder, step, tree, *about):
        save(folder, step, tree, *about)
        flat = jax.tree_util.tree_flatten_with_path(tree)[0]
        found[folder.parent] = {jax.tree_util.keystr(path): plain(leaf) for path, leaf in flat}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_checkpoint, "save", keep)
        yield found


@pytest.fixture(scope="session")
def watched_saves():
    """`() → context` of `{folder: leaves}`, the last checkpoint of each run, as NumPy arrays."""
    return _watched_saves


@pytest.fixture
def saved():
    """`{folder: leaves}` of the last checkpoint that each run saved, as arrays of NumPy."""
    with _watched_saves() as found:
        yield found
