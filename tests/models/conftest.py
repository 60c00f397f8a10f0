"""Tests of models, compiled without optimizations."""

import pytest


@pytest.fixture(autouse=True, scope="module")
def compilation(hurry: None) -> None:
    """Without optimizations: these tests do little but compile."""
