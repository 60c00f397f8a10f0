"""Networks that grow and shrink by LEMONADE's operators."""

from gpnas.search.morphable._architecture import (
    Architecture,
    Layer,
    architecture_macs,
    architecture_params,
    check_architecture,
    shapes,
)
from gpnas.search.morphable._inherit import inherit
from gpnas.search.morphable._network import Morphable
from gpnas.search.morphable._operators import APPROXIMATE, EXACT, Operator, change
from gpnas.search.morphable._space import cut, grow, morphable

__all__ = [
    "APPROXIMATE", "EXACT", "Architecture", "Layer", "Morphable", "Operator",
    "architecture_macs", "architecture_params", "change", "check_architecture", "cut", "grow",
    "inherit", "morphable", "shapes",
]  # fmt: skip
