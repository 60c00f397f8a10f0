"""The graph of a traced function: which indices along its axes must be removed together.

`trace` converts a jaxpr to a `Graph` of primitives. `solve` finds the units that the rules of the
primitives allow. `find_roles` finds the role of each leaf in a unit, `trace_origins` the leaves
that a value depends on. Internal to `gpnas.units`.
"""

from gpnas.units.graph._bodies import passages
from gpnas.units.graph._origins import Origin, trace_origins
from gpnas.units.graph._roles import (
    ADDS,
    BOTH,
    CONSUMES,
    CONSUMING,
    PRODUCES,
    SCALES,
    Roles,
    find_roles,
)
from gpnas.units.graph._rule import Cut, ShrinkContext, take
from gpnas.units.graph._rules import rule_of
from gpnas.units.graph._solve import Solution, cuts, solve
from gpnas.units.graph._trace import Graph, Op, Trace, Value, all_ops, trace

__all__ = [
    "ADDS", "BOTH", "CONSUMES", "CONSUMING", "PRODUCES", "SCALES", "Cut", "Graph", "Op",
    "Origin", "Roles", "ShrinkContext", "Solution", "Trace", "Value", "all_ops", "cuts",
    "find_roles", "passages", "rule_of", "solve", "take", "trace", "trace_origins",
]  # fmt: skip
