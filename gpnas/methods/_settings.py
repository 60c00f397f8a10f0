"""Types of the settings that methods share: what a value is, and its range."""

from typing import Annotated

from gpnas.plugins import In

Density = Annotated[float, In(0, 1, open="low")]
Fraction = Annotated[float, In(0, 1)]
Decay = Annotated[float, In(0, 1, open="high")]
NonNegative = Annotated[float, In(0)]
Positive = Annotated[float, In(0, open="low")]
Multiple = Annotated[float, In(1)]  # of the final density
Count = Annotated[int, In(1)]
Steps = Annotated[int, In(0)]
Penalties = Annotated[tuple[float, ...], In(0)]
Probabilities = Annotated[tuple[float, ...], In(0, 1, open="both")]
