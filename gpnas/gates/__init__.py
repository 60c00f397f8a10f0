"""Gates: trained parameters that change the forward pass, and the masks derived from them.

Namespaces: `binary` (binary gates with the ARM gradient), `concrete` (hard concrete gates),
`gaussian` (variational dropout), `groups` (which weights share a gate).
"""

from gpnas.gates import binary, concrete, gaussian, groups
from gpnas.gates._gate import (
    Forward,
    GateContext,
    Gates,
    Intercept,
    IsActive,
    masks_from_gates,
    no_gates,
)

__all__ = [
    "Forward", "GateContext", "Gates", "Intercept", "IsActive", "binary", "concrete", "gaussian",
    "groups", "masks_from_gates", "no_gates",
]  # fmt: skip
