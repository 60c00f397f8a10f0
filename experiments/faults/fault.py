"""The result of an injected fault, and its settings."""

import pathlib
from typing import Any, NamedTuple


class Fault(NamedTuple):
    """The result of an injected fault.

    Attributes:
      name: Its name in `FAULTS`.
      value: The measured number.
      target: The expected number, as a phrase ("40 of 40").
      holds: Whether it was reached.
      details: The data that the number is computed from.
    """

    name: str
    value: float
    target: str
    holds: bool
    details: dict[str, Any]


class Options(NamedTuple):
    """Settings of a fault.

    Attributes:
      folder: Folder of its runs, empty.
      repeats: Number of repetitions in total.
      commands: Names of the commands, see `commands.COMMANDS`.
      seed: Of random choices: the time of a kill, the position of a flipped bit.
    """

    folder: pathlib.Path
    repeats: int
    commands: tuple[str, ...] = ("train", "elastic", "sweep", "front")
    seed: int = 0
