"""Whether the settings of a method can be, each by itself and all together."""

import inspect
import math
import typing
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp

from gpnas.errors import UserError
from gpnas.masks import allocate
from gpnas.plugins import Range, check_value

# What a setting of such a name must be, in whichever method.
_RANGES: dict[str, Range] = {
    name: (holds, allowed)
    for names, holds, allowed in (
        ("density first block_density", lambda x: 0 < x <= 1, "a number in (0, 1]"),
        ("at fraction last_fraction extra", lambda x: 0 <= x <= 1, "a fraction in [0, 1]"),
        ("decay", lambda x: 0 <= x < 1, "a number in [0, 1)"),
        (
            "every window rounds phases refresh patience first_units",
            lambda x: x >= 1,
            "1 or more",
        ),
        (
            "protect rest survival_age price hysteresis churn spare stagger_at rate tolerance"
            " weight",
            lambda x: x >= 0,
            "0 or more",
        ),
        ("slack", lambda x: x > -1, "above -1"),
        ("sharpness", lambda x: x > 0, "above 0"),
        ("threshold", lambda x: -8 < x < 8, "a log α in (-8, 8)"),
        ("peak block_peak", lambda x: x >= 1, "1 or more, a multiple of the density"),
        ("penalties", lambda x: all(y >= 0 for y in x), "numbers, each 0 or more"),
        ("drops", lambda x: all(0 < y < 1 for y in x), "numbers, each in (0, 1)"),
    )
    for name in names.split()
}


def check_one(field: str, value: Any, parameter: inspect.Parameter, layers: int) -> Any:
    """The value, if it has the type that the signature says and the range that its name says.

    Raises:
      UserError: If it has not.
    """
    if typing.get_origin(parameter.annotation) is tuple:
        value = _per_layer(field, value, layers)
    name = parameter.name
    if name.endswith("_at") and name != "stagger_at":
        return check_value(field, value, parameter, {name: _RANGES["at"]})
    return check_value(field, value, parameter, _RANGES)


def _per_layer(field: str, value: Any, layers: int) -> tuple[float, ...]:
    numbers = isinstance(value, tuple) and all(
        type(x) in (int, float) and math.isfinite(x) for x in value
    )
    if not numbers or len(value) not in (1, layers):
        raise UserError(field, value, f"a tuple of one number, or of {layers}, one a layer")
    return tuple(float(x) for x in value)


def check_together(arguments: Mapping[str, Any], shapes: allocate.Shapes) -> None:
    """Checks the settings, defaults included, that limit each other.

    Raises:
      UserError: For the first that cannot be beside the others.
    """
    density = arguments.get("density", 1.0)
    for name, share in (("peak", density), ("block_peak", arguments.get("block_density", 1.0))):
        if name in arguments and arguments[name] * share > 1:
            allowed = f"at most {1 / share:g}, at density {share:g}"
            raise UserError(f"method.{name}", arguments[name], allowed)
    if "extra" in arguments and arguments["extra"] + density > 1:
        raise UserError(
            "method.extra", arguments["extra"], f"at most {1 - density:g}, at density {density:g}"
        )
    if arguments.get("start_at", 0) > arguments.get("full_at", 1):
        raise UserError("method.start_at", arguments["start_at"], "at most full_at")
    for name in ("warmup_at", "start_at", "full_at", "peak_at"):
        if arguments.get(name, 0) > arguments.get("stop_at", 1):
            raise UserError(f"method.{name}", arguments[name], "at most stop_at")
    age = arguments.get("survival_age", 0)
    if age and (age <= arguments.get("protect", 0) or age < arguments.get("every", 1)):
        raise UserError("method.survival_age", age, "more than protect, at least every")
    delay, spread = arguments.get("stagger_at", 0), arguments.get("allocation", allocate.erk())
    if delay and any(len(group) > 1 for group in spread(shapes, jnp.float32(1))):
        raise UserError("method.stagger_at", delay, "0 where leaves compete (allocation global)")
    rest = 1 - arguments.get("stop_at", 1)
    if delay > rest + 1e-9:
        raise UserError("method.stagger_at", delay, f"at most {rest:g}, what stop_at leaves")


def check_density(density: float, allocation: allocate.Allocation, shapes: allocate.Shapes) -> None:
    """Checks that an allocation can meet a density.

    Raises:
      UserError: If it cannot.
    """
    try:
        allocate.check(allocation, shapes, density)
    except ValueError as error:
        raise UserError(
            "method.density", density, f"one that the allocation can meet ({error})"
        ) from error
