"""Names in a config: one of ours, or `module:attribute` of the user's own."""

import importlib
from collections.abc import Mapping
from typing import TypeVar

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
