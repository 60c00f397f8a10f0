"""A small supernet on the digits, for weight sharing and DARTS."""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from experiments.studies.sharing.shared import (
    ImageSplit,
    Shared,
    image_split,
    make_shared,
    minibatches,
)
from experiments.studies.supernet201 import Supernet201
from gpnas.data import Dataset
from gpnas.models import cell201
from gpnas.train import TrainState


class Small(NamedTuple):
    """A supernet, its programs, weights at initialisation, and the digits."""

    supernet: nn.Module
    shared: Shared
    begin: TrainState
    train: ImageSplit
    held: ImageSplit
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


def make_tiny(digits: Dataset) -> Small:
    """Of a network that is no supernet."""
    return _make(digits, Tiny())


def make_small(digits: Dataset) -> Small:
    """Two channels, one cell a stage, minibatches of 16."""
    return _make(digits, Supernet201(10, channels=2, cells=1, conv="im2col"))


def _make(digits: Dataset, supernet: nn.Module) -> Small:
    shared = make_shared(supernet, digits.input_shape)
    held = image_split(digits.validation, digits)
    rows = minibatches(np.random.default_rng(0), len(held.labels), 16)
    begin = jax.device_get(shared.init(jax.random.key(0)))
    return Small(supernet, shared, begin, image_split(digits.train, digits), held, rows)
