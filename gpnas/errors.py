"""The one exception for a user's mistake: one line, exit code 2."""


def how_to_install(extra: str) -> str:
    """The command that installs an extra of gpnas, which is in no package index."""
    return f".venv/bin/pip install -e '.[{extra}]' in the folder of gpnas"


class UserError(ValueError):
    """A mistake in a config, a path or an argument, told in one line.

    Command lines turn it into that line on stderr and exit code 2, before anything is written.

    Args:
      field: What was set wrongly, as the user would write it (`method.density`).
      got: The value it had.
      allowed: What would have been right, as a phrase ("a number in (0, 1]").
    """

    def __init__(self, field: str, got: object, allowed: str):
        self.field, self.got, self.allowed = field, got, allowed
        super().__init__(f"{field}: got {got!r}, allowed: {allowed}")
