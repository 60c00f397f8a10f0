"""What came of a fault, and how it is done."""

import pathlib
from typing import Any, NamedTuple


class Fault(NamedTuple):
    """What came of a fault.

    Attributes:
      name: Its name in `FAULTS`.
      value: What was found.
      target: What it is to be, as a phrase ("40 of 40").
      holds: Whether it is.
      details: What it was found from.
    """

    name: str
    value: float
    target: str
    holds: bool
    details: dict[str, Any]


class Options(NamedTuple):
    """How a fault is done.

    Attributes:
      folder: Where its runs lie; one that is empty.
      repeats: How many times, in all.
      commands: Names of the commands that it is done to, see `commands.COMMANDS`.
      seed: Of what is drawn: the moment of a kill, the place of a flipped bit.
    """

    folder: pathlib.Path
    repeats: int
    commands: tuple[str, ...] = ("train", "elastic", "sweep", "front")
    seed: int = 0
