"""Durations in a method's config: a number of steps, a percentage of the run, or "auto".

With fixed numbers of steps, a short run might have no mask updates, so durations may be relative to
the run. They are converted to steps before the method is built; its arguments are integers.
"""

import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any

from gpnas.errors import UserError
from gpnas.plugins import plain_type

AUTO = "auto"
_INTERVALS = 42  # mask updates per run: every 100 of the standard run's 4,210 steps
_PLATEAUS = 15  # plateaus per run: 20 of the 300 evaluations in LOBSTER's config
_WHOLE = (int, "int", inspect.Parameter.empty)  # annotations of durations
_MOST = 2**31 - 1  # steps are int32

# "auto" as a function of the run's length and of earlier durations; None: no "auto".
DURATIONS: Mapping[str, Callable[[int, Mapping[str, int]], float] | None] = {
    "every": lambda length, known: length / _INTERVALS,
    "window": lambda length, known: known["every"] // 5,
    "refresh": None,
    "patience": lambda length, known: length / _PLATEAUS,
}
_IN_EVALUATIONS = ("patience",)  # the others are in steps


def is_duration(name: str, parameters: Mapping[str, inspect.Parameter]) -> bool:
    """Returns whether an argument is a duration: a known name, annotated int or not annotated."""
    if name not in DURATIONS or name not in parameters:
        return False
    return plain_type(parameters[name].annotation) in _WHOLE


def resolve(
    settings: Mapping[str, Any],
    parameters: Mapping[str, inspect.Parameter],
    total_steps: int,
    evaluations: int,
) -> dict[str, int]:
    """Returns the durations of a method as integers.

    Args:
      settings: Fields of the method's config. A missing duration is "auto" if the method has no
        default for it.
      parameters: Parameters of the method's function.
      total_steps: Length of the run.
      evaluations: Evaluations on the validation examples in the run, at least 1.

    Returns:
      `{name: steps}`, without durations that use the method's default; `patience` is in
      evaluations.

    Raises:
      UserError: For a value that is neither a whole number, nor a percentage in (0, 100], nor
        "auto" where supported.
    """
    found: dict[str, int] = {}
    known = {"every": max(round(total_steps / _INTERVALS), 1)}
    for name, automatic in DURATIONS.items():
        if not is_duration(name, parameters):
            continue
        required = parameters[name].default is inspect.Parameter.empty
        if name in settings or (required and automatic is not None):
            length = evaluations if name in _IN_EVALUATIONS else total_steps
            value = settings.get(name, AUTO)
            if value == AUTO and automatic is not None:
                value = max(round(automatic(length, known)), 1)
            found[name] = known[name] = _to_steps(name, value, length, automatic is not None)
    return found


def _to_steps(name: str, value: Any, length: int, has_auto: bool) -> int:
    percent = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,9})?) ?%", str(value))
    if percent and 0 < float(percent[1]) <= 100:
        return max(round(float(percent[1]) / 100 * length), 1)
    if type(value) is int and abs(value) <= _MOST:
        return value
    unit = "evaluations" if name in _IN_EVALUATIONS else "steps"
    forms = f'a number of {unit}, a percentage of the run such as "2%"'
    raise UserError(f"method.{name}", value, f'{forms}, or "{AUTO}"' if has_auto else forms)
