"""What the command lines share: a user's mistake is one line on stderr and exit code 2."""

import sys
from collections.abc import Callable, Sequence
from typing import Any

from absl import app, flags, logging

from gpnas.errors import UserError

EXIT_USER, EXIT_DIVERGED = 2, 3


def start(main: Callable[[Sequence[str]], Any]) -> None:
    """Parses the flags and runs `main(arguments)`.

    Args:
      main: Gets what is left of the command line, the program's name first. It may raise `UserError`.
    """

    def guarded(argv: Sequence[str]) -> None:
        if not flags.FLAGS["verbosity"].present:
            logging.set_verbosity(logging.WARNING)  # Orbax alone says forty lines a checkpoint
        try:
            main(argv)
        except UserError as error:
            stop(error, EXIT_USER)

    app.run(guarded, flags_parser=_parse)


def stop(reason: object, code: int) -> None:
    """Says why on one line of stderr and ends the program."""
    print(" ".join(str(reason).split()), file=sys.stderr)
    sys.exit(code)


def _parse(argv: Sequence[str]) -> list[str]:
    try:
        return flags.FLAGS(argv)
    # ml_collections raises these for a field that is not in the config and for a value of another type.
    except (
        flags.Error,
        AttributeError,
        KeyError,
        TypeError,
        ValueError,
        OSError,
        SyntaxError,
    ) as error:
        text = str(error.args[0] if isinstance(error, KeyError) and error.args else error)
        what, traceback, why = text.partition("Traceback (most recent call last):")
        stop(f"command line: {what}{why.splitlines()[-1] if traceback else ''}", EXIT_USER)
        raise
