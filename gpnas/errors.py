"""What ends a command in one line: a user's mistake, or work that cannot go on."""

import os
import re
import sys
import traceback
from importlib import metadata

_LONG = 300  # characters of a field or of a value that a message repeats; paths stay whole
_LONGEST = 2000  # of what is allowed: each source of a data set, and why it failed


def how_to_install(extra: str) -> str:
    """The command that installs what an extra of gpnas adds to the gpnas that is installed."""
    return f"{sys.executable} -m pip install 'gpnas[{extra}]'"


class UserError(ValueError):
    """A mistake in a config, a path or an argument, reported in one line.

    Command lines turn it into that line on stderr and exit code 2, before anything is written.

    Args:
      field: What was set wrongly, as the user would write it (`method.density`).
      got: The value it had.
      allowed: What would have been right, as a phrase ("a number in (0, 1]").
    """

    def __init__(self, field: str, got: object, allowed: str):
        self.field, self.got, self.allowed = field, got, allowed
        super().__init__(
            f"{one_line(field, _LONG)}: got {one_line(repr(got), _LONG)},"
            f" allowed: {one_line(allowed, _LONGEST)}"
        )


def not_installed(error: ModuleNotFoundError) -> UserError:
    """The extra of gpnas that has a package which is missing.

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
    """A run or a search that cannot go on, through no mistake in its config: exit code 3."""


def brief(error: BaseException) -> str:
    """What an error of another library says, and its type, in one short line."""
    return f"{type(error).__name__}: {one_line(str(error).strip(), _LONG)}"


def describe(error: BaseException) -> str:
    """`brief`, with the place where the error was raised."""
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return brief(error)
    return f"{brief(error)} ({os.path.basename(frames[-1].filename)}, line {frames[-1].lineno})"


def one_line(text: str, most: int) -> str:
    """A text on one line; what is longer than `most` characters loses its middle."""
    line = re.sub(r"\s*\n\s*", " ", text)
    half = most // 2 - 2
    return line if len(line) <= most else f"{line[:half]} … {line[-half:]}"
