"""Checks sections of a config against a default: their fields and types."""

from collections.abc import Collection, Mapping
from typing import Any

from ml_collections import ConfigDict

from gpnas.errors import UserError, one_of


def check_section(
    config: Any,
    default: Mapping[str, Any],
    section: str = "",
    unchecked: Collection[str] = (),
    optional: Collection[str] = (),
    source: str = "gpnas.train.base",
) -> None:
    """Checks that a section has the fields of a default, each of the default's type.

    Args:
      config: The section: a mapping of values and sections.
      default: A valid section. An int stands for a float, a list for a tuple.
      section: Dotted path of the section, for messages; "" for the config itself.
      unchecked: Paths of sections that may have further fields.
      optional: Paths of fields that may be missing.
      source: Location of the default, for messages.

    Raises:
      UserError: For the first field that is missing, of another type, or unknown.
    """
    if not isinstance(config, Mapping | ConfigDict):
        raise UserError(section or "config", config, f"a section, as in {source}")
    for name, own in default.items():
        path = f"{section}.{name}" if section else name
        if name not in config:
            if path in optional:
                continue
            raise UserError(path, None, f"a value, as in {source}")
        value = config[name]
        if isinstance(own, Mapping | ConfigDict):
            check_section(value, own, path, unchecked, optional, source)
        elif not _fits(value, own):
            needed = f": this config needs --config.{path}=VALUE" if value is None else ""
            raise UserError(path, value, f"a value of type {type(own).__name__}{needed}")
    for name in () if section in unchecked else config:
        if name not in default:
            path = f"{section}.{name}" if section else str(name)
            raise UserError(path, config[name], f"one of the fields {one_of(name, default)}")


def check_integers(settings: Mapping[str, Any], least: Mapping[str, int]) -> None:
    """Checks that fields are integers of at least `least`, `{field: number}`.

    Raises:
      UserError: For the first field that is not.
    """
    for field, smallest in least.items():
        number = settings[field]
        if type(number) is not int or number < smallest:
            raise UserError(field, number, f"a whole number, {smallest} or more")


def _fits(value: Any, own: Any) -> bool:
    if isinstance(own, tuple):
        return isinstance(value, tuple | list)
    numbers = isinstance(own, float) and type(value) is int and abs(value) < 2**127
    return type(value) is type(own) or numbers
