"""Tests of masks, in strict arithmetic."""

import pytest


@pytest.fixture(autouse=True)
def arithmetic(strict: None) -> None:
    """No implicit change of dtype or rank."""
