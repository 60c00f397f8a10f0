"""Names in a config: one of ours, or `module:attribute` of the user's own."""

import importlib
import inspect
from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeVar

from gpnas.errors import UserError

Thing = TypeVar("Thing")


def find(field: str, name: str, known: Mapping[str, Thing]) -> Thing:
    """What a name stands for.

    Args:
      field: The config's field, for the message.
      name: A key of `known`, or `module:attribute`, imported from Python's path.
      known: Ours.

    Raises:
      UserError: If there is no such thing.
    """
    if name in known:
        return known[name]
    allowed = f"{', '.join(known)}, or module:name of your own"
    module, colon, attribute = str(name).partition(":")
    if not colon:
        raise UserError(field, name, allowed)
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(field, name, f"{allowed} ({error})") from error


def check_fields(
    section: str,
    name: str,
    function: Callable[..., Any],
    settings: Mapping[str, Any],
    given: Collection[str],
) -> list[str]:
    """Makes sure that a function has all fields that are set, and gets all that it needs.

    Args:
      section: Of the config ("method"), for the message.
      name: The function's, as the config has it.
      function: What gets the fields as keyword arguments.
      settings: The fields that are set.
      given: Arguments that do not come from the config.

    Returns:
      The names of the fields that there are.

    Raises:
      UserError: For a field that is not known, or one that is missing.
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
