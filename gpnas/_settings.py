"""Types of settings shared by methods, strategies and spaces, with their ranges."""

from collections.abc import Sequence
from typing import Annotated

from gpnas.plugins import In

Density = Annotated[float, In(0, 1, open="low")]
Fraction = Annotated[float, In(0, 1)]
Decay = Annotated[float, In(0, 1, open="high")]
NonNegative = Annotated[float, In(0)]
Positive = Annotated[float, In(0, open="low")]
Multiple = Annotated[float, In(1)]  # multiple of the final density
Count = Annotated[int, In(1)]
Counts = Annotated[Sequence[int], In(1)]
Steps = Annotated[int, In(0)]
Height = Annotated[int, In(1, 12)]  # height of a tree of 2**height - 1 nodes
Factor = Annotated[int, In(2)]
Penalties = Annotated[tuple[float, ...], In(0)]
Probabilities = Annotated[tuple[float, ...], In(0, 1, open="both")]
