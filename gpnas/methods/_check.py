"""Checks of a method's settings, individually and in combination."""

import inspect
import math
import typing
from collections.abc import Mapping
from typing import Any

from gpnas.errors import UserError, explained
from gpnas.masks import allocate
from gpnas.methods._method import step_at
from gpnas.plugins import check_value, plain_type


def check_one(field: str, value: Any, parameter: inspect.Parameter, layers: int) -> Any:
    """Returns the value if it has the type and range (`In`) of its annotation.

    Raises:
      UserError: If it does not.
    """
    kind = plain_type(parameter.annotation)
    if typing.get_origin(kind) is tuple and typing.get_args(kind)[0] is float:
        value = _per_layer(field, value, layers)
    return check_value(field, value, parameter)


def _per_layer(field: str, value: Any, layers: int) -> tuple[float, ...]:
    numbers = isinstance(value, tuple) and all(
        type(x) in (int, float) and math.isfinite(x) for x in value
    )
    if not numbers or len(value) not in (1, layers):
        raise UserError(field, value, f"a tuple of one number, or of {layers}, one per layer")
    return tuple(float(x) for x in value)


def check_together(arguments: Mapping[str, Any], total_steps: int, selection: str | None) -> None:
    """Checks the settings of a built-in method that constrain each other.

    Args:
      arguments: Arguments by name, including defaults.
      total_steps: Length of the run.
      selection: Name of the selection, if given.

    Raises:
      UserError: For the first setting that is incompatible with the others.
    """
    _check_densities(arguments, selection)
    _check_times(arguments)
    last = step_at(arguments.get("stop_at", 1.0), total_steps)
    if {"first", "peak"} & arguments.keys() and arguments.get("every", 1) > last:
        if last < 1:
            allowed = f"more: the density has no step to move in, of {total_steps}"
            raise UserError("method.stop_at", arguments["stop_at"], allowed)
        allowed = f"at most {last} in {total_steps} steps"
        raise UserError("method.every", arguments["every"], allowed)


def _check_densities(arguments: Mapping[str, Any], selection: str | None) -> None:
    density = arguments.get("density", 1.0)
    for name, share in (("peak", density), ("block_peak", arguments.get("block_density", 1.0))):
        if name in arguments and arguments[name] * share > 1:
            allowed = f"at most {1 / share:g}, at density {share:g}"
            raise UserError(f"method.{name}", arguments[name], allowed)
    if "extra" in arguments and arguments["extra"] + density > 1:
        raise UserError(
            "method.extra", arguments["extra"], f"at most {1 - density:g}, at density {density:g}"
        )
    n, of, m = (selection or "").partition(":")
    if of and density != int(n) / int(m):
        allowed = f"{int(n) / int(m)}, the density of select {selection}"
        raise UserError("method.density", density, allowed)


def _check_times(arguments: Mapping[str, Any]) -> None:
    if arguments.get("start_at", 0) > arguments.get("full_at", 1):
        raise UserError("method.start_at", arguments["start_at"], "at most full_at")
    for name in ("warmup_at", "start_at", "full_at", "peak_at"):
        if arguments.get(name, 0) > arguments.get("stop_at", 1):
            raise UserError(f"method.{name}", arguments[name], "at most stop_at")


def check_density(density: float, allocation: allocate.Allocation, shapes: allocate.Shapes) -> None:
    """Checks that an allocation can meet a density.

    Raises:
      UserError: If it cannot.
    """
    with explained("method.density", density, "one that the allocation can meet", ValueError):
        allocate.check_feasible(allocation, shapes, density)
