"""Errors that end a command with one line: invalid input, or work that cannot continue."""

import contextlib
import difflib
import os
import re
import sys
import sysconfig
import traceback
from collections.abc import Iterable, Iterator, Mapping
from importlib import metadata
from typing import Any

_PATHS = sysconfig.get_paths()
_LIBRARIES = (  # prefixes of files that are not the user's
    *("<", os.path.dirname(__file__)),
    *(_PATHS[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")),
)
_LONG = 300  # characters of a field or value in a message; paths are not shortened
_LONGEST = 2000  # characters of `allowed`, for example all failed sources of a data set


def how_to_install(extra: str) -> str:
    """Returns the command that installs an extra of gpnas."""
    return f"{sys.executable} -m pip install 'gpnas[{extra}]'"


class UserError(ValueError):
    """A mistake in a config, a path or an argument, reported in one line.

    Command lines print it on stderr and exit with code 2, before anything is written.

    Args:
      field: The invalid field as the user writes it (`method.density`).
      got: Its value.
      allowed: Description of valid values ("a number in (0, 1]").
    """

    def __init__(self, field: str, got: object, allowed: str):
        self.field, self.got, self.allowed = field, got, allowed
        super().__init__(
            f"{one_line(field, _LONG)}: got {one_line(repr(got), _LONG)},"
            f" allowed: {one_line(allowed, _LONGEST)}"
        )


def check_choice(field: str, got: object, choices: Iterable[object], before: str = "") -> None:
    """Checks that a value is one of the choices.

    Args:
      field, got: As for `UserError`.
      choices: All valid values.
      before: Text of the message before the choices.

    Raises:
      UserError: If it is not.
    """
    known = list(choices)
    if got not in known:
        raise UserError(field, got, before + one_of(got, known))


def one_of(got: object, choices: Iterable[object]) -> str:
    """Lists the choices for a message, with the one that resembles a misspelt value."""
    names = [str(choice) for choice in choices]
    near = difflib.get_close_matches(str(got), names, 1)
    return ", ".join(names) + (f" (did you mean {near[0]}?)" if near else "")


@contextlib.contextmanager
def explained(field: str, got: object, allowed: str, *kinds: type[Exception]) -> Iterator[None]:
    """Converts errors of another library, in the block, to one line; keeps a `UserError`.

    Args:
      field, got, allowed: As for `UserError`; the error's type and message are appended.
      *kinds: Types of the errors.

    Raises:
      UserError: If the block raises one of the types.
    """
    try:
        yield
    except UserError:
        raise
    except kinds as error:
        raise UserError(field, got, f"{allowed} ({brief(error)})") from error


def check_unchanged(old: Mapping[str, Any], new: Mapping[str, Any], since: str) -> None:
    """Checks that settings equal earlier ones.

    Args:
      old, new: `{field: value}`.
      since: What has the earlier ones, for the message: "as in the queue; or another database".

    Raises:
      UserError: For the first field that differs, in alphabetical order.
    """
    for field in sorted({*old, *new}):
        if old.get(field) != new.get(field):
            raise UserError(field, new.get(field), f"{old.get(field)!r}, {since}")


def not_installed(error: ModuleNotFoundError) -> UserError:
    """Returns an error that names the extra of gpnas with a missing package.

    Raises:
      ModuleNotFoundError: The error itself, if no extra has it.
    """
    name = str(error.name).partition(".")[0]
    try:
        requirements = metadata.requires("gpnas") or []
    except metadata.PackageNotFoundError:
        requirements = []
    for requirement in requirements:
        match = re.match(r"([\w-]+).*extra == ['\"](\w+)", requirement)
        if match and match[1].replace("-", "_").lower() == name.lower():
            return UserError(name, None, f"the package, installed by {how_to_install(match[2])}")
    raise error


class GaveUp(RuntimeError):
    """Raised when a run or search fails although its config is valid (exit code 3)."""


def brief(error: BaseException) -> str:
    """Returns type and message of an error in one short line, and the user's line of code, if any.

    The user's code is a module outside gpnas and Python's library folders.
    """
    frames = [(one.filename, one.lineno) for one in traceback.extract_tb(error.__traceback__)]
    text = one_line(str(error).strip(), _LONG)
    return f"{type(error).__name__}: {text}{user_line(frames)}"


def user_line(frames: Iterable[tuple[str, object]]) -> str:
    """Returns ", line 5 of own.py" for the innermost frame of the user's code, "" if there is none.

    Args:
      frames: `(file, line)`, outermost first.
    """
    own = [frame for frame in frames if not frame[0].startswith(_LIBRARIES)]
    return f", line {own[-1][1]} of {os.path.basename(own[-1][0])}" if own else ""


def one_line(text: str, most: int) -> str:
    """Puts a text on one line; cuts the middle if it exceeds `most` characters."""
    line = re.sub(r"\s*\n\s*", " ", text)
    half = most // 2 - 2
    return line if len(line) <= most else f"{line[:half]} … {line[-half:]}"
