"""Types of measurements and their settings; `gpnas.timing` measures times."""

import importlib.util
import pathlib
import statistics
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
from ml_collections import ConfigDict

from gpnas.errors import UserError, how_to_install
from gpnas.timing import Seconds, compiling, interleave

__all__ = [
    "Measurement", "Missing", "Options", "Seconds", "by_backend", "compiling", "interleave",
    "ratio", "require", "summary",
]  # fmt: skip


class Measurement(NamedTuple):
    """The result of a measurement.

    Attributes:
      name: Its name in `MEASUREMENTS`.
      value, unit: The result.
      target: The target, as a phrase ("≤ 1.1").
      holds: Whether the target is met.
      details: Data that the value is computed from.
    """

    name: str
    value: float
    unit: str
    target: str
    holds: bool
    details: dict[str, Any]


class Options(NamedTuple):
    """Settings of a measurement.

    Attributes:
      configs: Configs by name: "development", "rigl".
      results: Folder of the studies' records.
      fast: Whether to use tiny sizes, which only test the measurement.
    """

    configs: Mapping[str, Callable[[], ConfigDict]]
    results: pathlib.Path
    fast: bool = False


class Missing(UserError):
    """A requirement of a measurement is missing; other measurements can run."""


def require(extra: str, *packages: str) -> None:
    """Checks that packages are installed, without importing them.

    Args:
      extra: The extra of gpnas that installs them.
      *packages: Their names.

    Raises:
      Missing: For the first one that is not.
    """
    for package in packages:
        if importlib.util.find_spec(package) is None:
            raise Missing(package, "not installed", how_to_install(extra))


def by_backend(cpu: float, accelerator: float) -> float:
    """Returns the target on the default backend."""
    return cpu if jax.default_backend() == "cpu" else accelerator


def ratio(taken: Seconds, ours: str, other: str) -> float:
    """Returns the median of ours divided by the median of the other."""
    return statistics.median(taken[ours]) / statistics.median(taken[other])


def summary(taken: Seconds, calls: int = 1) -> dict[str, Any]:
    """Summarizes timings: median and minimum in milliseconds, and number of timed calls.

    Args:
      taken: Timings from `interleave`.
      calls: Repetitions (steps, for example) per timed call.
    """
    scale = 1000 / calls
    return {
        "median_ms": {n: round(scale * statistics.median(t), 4) for n, t in taken.items()},
        "minimum_ms": {n: round(scale * min(t), 4) for n, t in taken.items()},
        "rounds": len(next(iter(taken.values()))),
    }
