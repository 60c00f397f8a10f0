"""A small supernet on the digits, for weight sharing and DARTS; a database server."""

import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gpnas.data import Dataset
from gpnas.models import Supernet201, cell201
from gpnas.search.sharing import Pictures, Shared, State, make_shared, minibatches, pictures


class Small(NamedTuple):
    """A supernet, its programs, weights at initialisation, and the digits."""

    supernet: nn.Module
    shared: Shared
    begin: State
    train: Pictures
    held: Pictures
    rows: np.ndarray


class Tiny(nn.Module):
    """What is called as a supernet is, and compiles at once."""

    @nn.compact
    def __call__(self, images: jax.Array, selection: jax.Array) -> jax.Array:
        """(batch, 8, 8, 1) → (batch, 10)."""
        one = jnp.ndim(selection) == 1
        weights = jax.nn.one_hot(selection, len(cell201.OPERATIONS)) if one else selection
        found = nn.relu(nn.Dense(weights.size)(images.reshape(len(images), -1)))
        return nn.Dense(10)(found * weights.reshape(1, -1))


@pytest.fixture(scope="module")
def tiny(digits: Dataset) -> Small:
    """The same around a network that is no supernet."""
    return _small(digits, Tiny())


@pytest.fixture(scope="module")
def small(digits: Dataset, one_stage: None) -> Small:
    """Two channels, one stage of one cell, minibatches of 16."""
    return _small(digits, Supernet201(10, channels=2, cells=1, conv="im2col"))


def _small(digits: Dataset, supernet: nn.Module) -> Small:
    shared = make_shared(supernet, digits.input_shape)
    held = pictures(digits.validation, digits)
    rows = minibatches(np.random.default_rng(0), len(held.labels), 16)
    begin = jax.device_get(shared.init(jax.random.key(0)))
    return Small(supernet, shared, begin, pictures(digits.train, digits), held, rows)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def postgresql(tmp_path):
    """URL of a server of its own on this machine; it may not run as root."""
    pytest.importorskip("psycopg")
    if not (shutil.which("initdb") and shutil.which("postgres")):
        pytest.skip("PostgreSQL is not installed")
    folder, port = pathlib.Path(tempfile.mkdtemp()), free_port()  # tmp_path is closed to others
    other = {"user": "nobody"} if os.geteuid() == 0 else {}
    if other:
        shutil.chown(folder, "nobody")
    quiet = {"check": True, "capture_output": True, "cwd": folder, **other}
    subprocess.run(["initdb", "-D", folder / "data", "-U", "me", "-A", "trust"], **quiet)
    listen = ["-h", "127.0.0.1", "-p", str(port), "-k", folder, "-c", "fsync=off"]
    server = subprocess.Popen(
        ["postgres", "-D", folder / "data", *listen], stderr=subprocess.PIPE, cwd=folder, **other
    )
    for line in server.stderr:
        if b"ready to accept" in line:
            break
    yield f"postgresql+psycopg://me@127.0.0.1:{port}/postgres"
    server.send_signal(signal.SIGINT)
    server.communicate()
    shutil.rmtree(folder)
