"""Overrides of config fields that the file does not list: of network, task, method, optimizer.

A study has these sections in each arm: `arms.gmp.method`.
"""

import ast
import inspect
import re
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from absl import flags
from ml_collections import ConfigDict
from ml_collections.config_flags import tuple_parser

from gpnas import plugins
from gpnas.errors import UserError
from gpnas.methods import fields_of
from gpnas.models import BY_THE_RUN, find_network
from gpnas.train import Task, find_optimizer, task

Parameters = Mapping[str, inspect.Parameter]
_LISTED = ("dtype", "conv")  # fields of networks that every file lists


def _without(function: Callable[..., Any], *given: str) -> Parameters:
    return {k: p for k, p in plugins.parameters_of(function).items() if k not in given}


def _of_model(name: str) -> Parameters:
    return _without(find_network("model.name", name)[0], *BY_THE_RUN, *_LISTED)


def _of_task(name: str) -> Parameters:
    return _without(plugins.find("task.name", name, task.TASKS, Task), "model")


def _of_optimizer(name: str) -> Parameters:
    return _without(find_optimizer("optimizer.name", name), "learning_rate", "mask")


# By section of a config: the field that names a function, and how to find its parameters.
_SECTIONS: Mapping[str, tuple[str, Callable[[str], Parameters]]] = {
    "model": ("model.name", _of_model),
    "method": ("method.name", fields_of),
    "task": ("task.name", _of_task),
    "optimizer.arguments": ("optimizer.name", _of_optimizer),
}


def given(argv: Sequence[str], flag: str) -> dict[str, str | None]:
    """Returns the overrides of a config on a command line: text by dotted path, or None."""
    found: dict[str, str | None] = {}
    for at, argument in enumerate(argv):
        match = re.match(rf"--?(no)?{re.escape(flag)}\.([^=]+)(=?)(.*)", argument, re.DOTALL)
        if match is None:
            continue
        no, path, equals, text = match.groups()
        following = argv[at + 1 : at + 2]
        if equals:
            found[path] = text
        elif no or not following or following[0].startswith("-"):
            found[path] = "false" if no else None
        else:
            found[path] = following[0]
    return found


def complete(config: ConfigDict, overrides: Mapping[str, str | None], flag: str) -> ConfigDict:
    """Sets the given fields of the network, task, method and optimizer in a config.

    Fields that are not given stay absent, so their defaults apply. If the optimizer is overridden,
    arguments of the file's optimizer that the new one lacks are dropped.

    Args:
      config: The config of a file; modified in place and unlocked.
      overrides: Overrides from `given`.
      flag: Flag of the config, for messages.

    Raises:
      UserError: For a value that does not have the field's type.
    """
    with config.unlocked():
        for path, name in overrides.items():
            if path.endswith("optimizer.name") and name is not None:
                _forget_arguments(_holder(config, path.removesuffix(".name")), name)
        for path, text in overrides.items():
            section, _, field = path.rpartition(".")
            parameter = allowed(config, overrides, section).get(field)
            if parameter is not None:
                value = _value(f"{flag}.{path}", "true" if text is None else text, parameter)
                holder = _holder(config, section)
                with holder.ignore_type():
                    holder[field] = value
    config.unlock()
    return config


def _forget_arguments(optimizer: Any, name: str) -> None:
    """Drops arguments of the file's optimizer that another optimizer does not have."""
    arguments = _holder(optimizer, "arguments")
    if not isinstance(arguments, ConfigDict) or name == optimizer.name:
        return
    known = _of_optimizer(name)
    for field in [field for field in arguments if field not in known]:
        del arguments[field]


def allowed(config: ConfigDict, overrides: Mapping[str, str | None], section: str) -> Parameters:
    """Returns the parameters that a section may set, given the overridden names; else empty."""
    kind = next((one for one in _SECTIONS if f".{section}".endswith(f".{one}")), None)
    if kind is None or not isinstance(_holder(config, section), ConfigDict):
        return {}
    place, fields = _SECTIONS[kind]
    holder, _, name = f"{section.removesuffix(kind)}{place}".rpartition(".")
    chosen = overrides.get(f"{holder}.{name}") or (_holder(config, holder) or {}).get(name)
    try:
        return {k: p for k, p in fields(str(chosen)).items() if k != "name"}
    except UserError:  # reported later, with the field of the name
        return {}


def _holder(config: Any, path: str) -> Any:
    for part in path.split("."):
        config = config.get(part) if isinstance(config, ConfigDict) else None
    return config


def _value(field: str, text: str, parameter: inspect.Parameter) -> Any:
    """Parses a text as the type in a signature, or of the default."""
    kinds = _kinds(parameter)
    for kind in kinds:
        try:
            return PARSERS[kind](text)
        except (SyntaxError, TypeError, ValueError):
            continue
    raise UserError(field, text, f"a value of type {' or '.join(k.__name__ for k in kinds)}")


def _kinds(parameter: inspect.Parameter) -> list[type]:
    """Returns the types to try, in order; any literal, then text, if none is known."""
    said = parameter.annotation
    union = typing.get_origin(said) in (typing.Union, types.UnionType)
    kinds = [typing.get_origin(one) or one for one in (typing.get_args(said) if union else (said,))]
    kinds = [str if kind is typing.Literal else kind for kind in kinds]
    kinds = [tuple if kind in (list, Sequence) else kind for kind in kinds]
    if not all(kind in PARSERS or kind is type(None) for kind in kinds):
        default = type(parameter.default)
        kinds = [default] if default in PARSERS else [object, str]
    return [kind for kind in PARSERS if kind in kinds]


# Parsers of a flag's text by type, in the order in which they are tried.
PARSERS: dict[type, Callable[[str], Any]] = {
    int: flags.IntegerParser().parse,
    float: flags.FloatParser().parse,
    bool: flags.BooleanParser().parse,
    tuple: lambda text: tuple_parser.TupleParser().parse([text]),
    object: ast.literal_eval,
    str: str,
}
