"""Networks and optimizers of others mix ranks and types as they like."""

import sys
from collections.abc import Iterator
from pathlib import Path

import jax
import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def lenient(strict: None) -> Iterator[None]:
    """Undoes what is strict in the tests of this folder."""
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        yield


@pytest.fixture(autouse=True)
def arithmetic(strict: None) -> None:
    """No implicit change of dtype or rank."""
