"""A small supernet on the digits, for weight sharing and DARTS."""

from collections.abc import Iterator
from typing import NamedTuple

import jax
import numpy as np
import pytest

from gpnas.data import Dataset
from gpnas.models import Supernet201, cell201
from gpnas.search.sharing import Pictures, Shared, State, make_shared, minibatches, pictures


class Small(NamedTuple):
    """A supernet, its programs, weights at initialisation, and the digits."""

    supernet: Supernet201
    shared: Shared
    begin: State
    train: Pictures
    held: Pictures
    rows: np.ndarray


@pytest.fixture(scope="module")
def one_stage() -> Iterator[None]:
    """Networks of one stage, where three would take three times as long to compile."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cell201, "STAGES", 1)
        yield


@pytest.fixture(scope="module")
def small(digits: Dataset, one_stage: None) -> Small:
    """Two channels, one stage of one cell, minibatches of 16."""
    supernet = Supernet201(10, channels=2, cells=1, conv="im2col")
    shared = make_shared(supernet, digits.image_shape)
    held = pictures(digits.validation, digits)
    rows = minibatches(np.random.default_rng(0), len(held.labels), 16)
    begin = jax.device_get(shared.init(jax.random.key(0)))
    return Small(supernet, shared, begin, pictures(digits.train, digits), held, rows)
