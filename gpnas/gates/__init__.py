"""Gates: methods that change the forward pass, and learn from the loss what is of use."""

from gpnas.gates import groups
from gpnas.gates.binary import ARM, bernoulli, more_often_open
from gpnas.gates.concrete import ever_open, hard_concrete
from gpnas.gates.gate import Forward, GateContext, Gates, Intercept, follow, no_gates
from gpnas.gates.gaussian import certain, variational

__all__ = [
    "ARM", "Forward", "GateContext", "Gates", "Intercept", "bernoulli", "certain", "ever_open",
    "follow", "groups", "hard_concrete", "more_often_open", "no_gates", "variational",
]  # fmt: skip
