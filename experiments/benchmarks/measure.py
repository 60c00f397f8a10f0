"""What a measurement is; time is taken as `gpnas.timing` does."""

import pathlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
from ml_collections import ConfigDict

from gpnas.errors import UserError
from gpnas.timing import Seconds, compiling, interleave, ratio, summary

__all__ = [
    "Measurement", "Missing", "Options", "Seconds", "by_backend", "compiling", "interleave",
    "ratio", "summary",
]  # fmt: skip


class Measurement(NamedTuple):
    """What was measured.

    Attributes:
      name: Its name in `MEASUREMENTS`.
      value, unit: The number.
      target: What it is to be, as a phrase ("≤ 1.1").
      holds: Whether it is.
      details: What it was computed from.
    """

    name: str
    value: float
    unit: str
    target: str
    holds: bool
    details: dict[str, Any]


class Options(NamedTuple):
    """How to measure.

    Attributes:
      configs: A config by name: "development", "rigl".
      results: Folder of the studies' records.
      fast: Tiny sizes: shows that the measurement works, and nothing else.
    """

    configs: Mapping[str, Callable[[], ConfigDict]]
    results: pathlib.Path
    fast: bool = False


class Missing(UserError):
    """What a measurement needs is not there; the others can go on."""


def by_backend(cpu: float, accelerator: float) -> float:
    """A target on the default backend."""
    return cpu if jax.default_backend() == "cpu" else accelerator
