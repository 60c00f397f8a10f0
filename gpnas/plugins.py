"""Resolves names in a config: built-in ones, or `module:attribute` of the user."""

import functools
import importlib
import inspect
import math
import typing
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from gpnas._files import NO_SPACE
from gpnas.errors import UserError, brief, check_choice, one_of

_Thing = TypeVar("_Thing")


class In(NamedTuple):
    """Range of a setting, in a signature: `Annotated[float, In(0, 1, open="low")]` is (0, 1].

    Attributes:
      low, high: Bounds; for tuples, of each item.
      open: Which bounds are excluded: "", "low", "high" or "both".
    """

    low: float = -math.inf
    high: float = math.inf
    open: str = ""

    def holds(self, value: Any) -> bool:
        """Returns whether a number, or each item of a tuple, is in the range."""
        if isinstance(value, tuple | list):
            return all(self.holds(item) for item in value)
        if not isinstance(value, int | float):
            return False
        above = value > self.low if self.open in ("low", "both") else value >= self.low
        below = value < self.high if self.open in ("high", "both") else value <= self.high
        return above and below

    def __str__(self) -> str:
        low_open, high_open = self.open in ("low", "both"), self.open in ("high", "both")
        if self.high == math.inf:
            return f"above {self.low:g}" if low_open else f"{self.low:g} or more"
        brackets = "(" if low_open else "[", ")" if high_open else "]"
        return f"in {brackets[0]}{self.low:g}, {self.high:g}{brackets[1]}"


def plain_type(annotation: Any) -> Any:
    """Returns an annotation without the metadata of `Annotated`."""
    is_annotated = typing.get_origin(annotation) is typing.Annotated
    return typing.get_args(annotation)[0] if is_annotated else annotation


def parameters_of(function: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    """Returns the parameters of a function or class, with evaluated annotations if possible.

    For a class, these are the parameters of `__init__`, regardless of its metaclass.
    """
    if inspect.isclass(function) and type(function).__call__ is not type.__call__:
        function = functools.partial(function.__init__, None)
    try:
        return inspect.signature(function, eval_str=True).parameters
    except NameError:  # names defined for type checkers only
        return inspect.signature(function).parameters


def _range_in(annotation: Any) -> In | None:
    notes = getattr(annotation, "__metadata__", ())
    return next((note for note in notes if isinstance(note, In)), None)


def find(field: str, name: str, known: Mapping[str, _Thing], returns: type | None = None) -> _Thing:
    """Resolves a name.

    Args:
      field: The config's field, for the message.
      name: A key of `known`, or `module:attribute`, imported from Python's path.
      known: Built-in names.
      returns: Required return type, if any: the result must then be a class of that kind, or a
        function annotated to return one. Other objects are never called.

    Raises:
      UserError: If the name does not exist or is of another kind.
    """
    if isinstance(name, str) and name in known:
        return known[name]
    own = "module:name of your own"
    allowed = one_of(name, [*known, f"or {own}" if known else own])
    module, colon, attribute = str(name).partition(":")
    if not colon:
        raise UserError(field, name, allowed)
    try:
        found = getattr(importlib.import_module(module), attribute)
    except Exception as error:  # a user's module may raise anything
        raise UserError(field, name, f"{allowed} ({brief(error)})") from error
    if returns is not None:
        check_makes(field, name, found, (returns,))
    return found


def check_makes(field: str, name: str, found: Any, kinds: Sequence[type]) -> type:
    """Returns which of some classes a call would return, by its annotation; never calls it.

    Raises:
      UserError: If it returns none of them, or is not annotated.
    """
    made = made_type(found)
    for kind in kinds:
        if made is not None and issubclass(made, kind):
            return kind
    names = " or ".join(dict.fromkeys(kind.__name__ for kind in kinds))
    allowed = f"a {names} class, or a function annotated `-> {kinds[0].__name__}`"
    shown = getattr(found, "__qualname__", None) or repr(found)
    raise UserError(field, name, f"{allowed}; not {shown}")


def check_made(field: str, name: str, made: _Thing, kind: type) -> _Thing:
    """Returns what a user's function returned, if it has the annotated type.

    Raises:
      UserError: If it has another type.
    """
    if not isinstance(made, kind):
        allowed = f"a function that returns a {kind.__name__}, not {type(made).__name__}"
        raise UserError(field, name, allowed)
    return made


def call_user(
    field: str,
    got: object,
    allowed: str,
    function: Callable[..., Any],
    /,  # a user's function may have arguments of these names
    *args: Any,
    **kwargs: Any,
) -> Any:
    """Calls a user's code; an exception becomes a one-line error.

    Args:
      field: Field of the config that names the code.
      got: Its value.
      allowed: Description of valid code, for the message.
      function: The function to call.
      *args: Its arguments.
      **kwargs: Its keyword arguments.

    Raises:
      UserError: If the code raises, with its error and location; a `UserError` is passed through.
      OSError: If the disk is full.
    """
    try:
        return function(*args, **kwargs)
    except UserError:
        raise
    except Exception as error:  # user code may raise anything
        if isinstance(error, OSError) and error.errno in NO_SPACE:
            raise
        raise UserError(field, got, f"{allowed} ({brief(error)})") from error


def made_type(found: Any) -> type | None:
    """Returns the annotated class that a call returns; None if unknown."""
    if isinstance(found, functools.partial):
        return made_type(found.func)
    if inspect.isclass(found):
        return found
    said = getattr(found, "__annotations__", {}).get("return")
    if isinstance(said, str):  # postponed annotations
        try:
            said = typing.get_type_hints(found)["return"]
        except (NameError, TypeError):
            return None
    return said if inspect.isclass(said) else None


def check_fields(
    section: str,
    name: str,
    function: Callable[..., Any],
    settings: Mapping[str, Any],
    given: Collection[str],
) -> list[str]:
    """Checks that a function has all fields that are set, and receives all that it requires.

    Args:
      section: Section of the config ("method"), for the message.
      name: Name of the function in the config.
      function: Function that receives the fields as keyword arguments.
      settings: The fields that are set.
      given: Arguments that do not come from the config.

    Returns:
      The names of all fields.

    Raises:
      UserError: For an unknown or a missing field.
    """
    parameters = inspect.signature(function).parameters
    own = [field for field in parameters if field not in given]
    for field in settings:
        if field not in own:
            allowed = f"a field of {name}: {', '.join(own) or 'none'}"
            raise UserError(f"{section}.{field}", settings[field], allowed)
    for field in own:
        if parameters[field].default is inspect.Parameter.empty and field not in settings:
            raise UserError(f"{section}.{field}", None, f"a value: {name} needs it")
    return own


def check_settings(
    section: str,
    name: str,
    function: Callable[..., Any],
    settings: Mapping[str, Any],
    given: Collection[str],
) -> dict[str, Any]:
    """Returns the settings of a section, checked against the signature of its function.

    Args:
      section, name, function, settings, given: As for `check_fields`.

    Raises:
      UserError: As `check_fields` and `check_value`.
    """
    check_fields(section, name, function, settings, given)
    parameters = parameters_of(function)
    return {
        field: check_value(f"{section}.{field}", value, parameters[field])
        for field, value in settings.items()
    }


def check_value(field: str, value: Any, parameter: inspect.Parameter) -> Any:
    """Returns the value if it has the type and range (`In`) of its annotation.

    Args:
      field: The config's field, for the message.
      value: Value in the config; a whole number is valid for float. Whole numbers must fit 32 bits.
      parameter: Parameter of the function; without an annotation, any type is valid.

    Raises:
      UserError: If it does not.
    """
    kind, limits = plain_type(parameter.annotation), _range_in(parameter.annotation)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if isinstance(value, float) and not math.isfinite(value):
        raise UserError(field, value, "a finite number")
    choices = typing.get_args(kind) if typing.get_origin(kind) is typing.Literal else ()
    if choices:
        check_choice(field, value, choices)
    if isinstance(value, int) and abs(value) >= 2**31:
        raise UserError(field, value, "a whole number of 32 bits")
    said = kind is not inspect.Parameter.empty
    if said and isinstance(kind, type) and type(value) is not kind:
        raise UserError(field, value, f"a value of type {kind.__name__}")
    if typing.get_origin(kind) in (tuple, Sequence):
        _check_items(field, value, typing.get_args(kind)[0])
    if limits is not None and not limits.holds(value):
        kinds = "numbers, each " if isinstance(value, tuple | list) else "a number "
        raise UserError(field, value, (kinds if limits.high < math.inf else "") + str(limits))
    return value


def _check_items(field: str, value: Any, kind: Any) -> None:
    """Checks that a value is a tuple or list of finite numbers, or of texts, of a type."""
    if not isinstance(value, tuple | list):
        raise UserError(field, value, f"a tuple of {kind.__name__} values")
    for item in value:
        whole = kind is float and type(item) is int
        if isinstance(kind, type) and type(item) is not kind and not whole:
            raise UserError(field, value, f"a tuple of {kind.__name__} values")
        if isinstance(item, float) and not math.isfinite(item):
            raise UserError(field, value, "finite numbers")
