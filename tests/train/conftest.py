"""Small runs on the digits, compiled in a hurry."""

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from gpnas.train import _checkpoint, base

ROOT = Path(__file__).parents[2]


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


@pytest.fixture(scope="session")
def python(tmp_path_factory):
    """`(*arguments, devices) → finished process` of Python, with the repository on its path."""
    home = tmp_path_factory.mktemp("home")

    def call(*arguments, devices=1, cwd=ROOT):
        env = os.environ | {
            "HOME": str(home),
            "XDG_CACHE_HOME": str(home / "cache"),
            "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
            "JAX_NUM_CPU_DEVICES": str(devices),
            "JAX_PLATFORMS": "cpu",
            "JAX_COMPILATION_CACHE_DIR": str(jax.config.jax_compilation_cache_dir or home / "jax"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
        }
        command = [sys.executable, *map(str, arguments)]
        return subprocess.run(
            command, env=env, cwd=cwd, capture_output=True, text=True, check=False, timeout=300
        )

    return call


@pytest.fixture(autouse=True, scope="module")
def compilation(hurry: None) -> None:
    """Without optimizations: these tests do little but compile."""
