"""Which slices of which arrays are exactly zero once the parameters of dead units are."""

from collections.abc import Callable

import numpy as np

from gpnas.units.graph._rule import is_zero
from gpnas.units.graph._rules import rule_of
from gpnas.units.graph._rules_control import ZERO
from gpnas.units.graph._trace import Program, Trace, Value


def zeros(trace: Trace, fixed: np.ndarray) -> np.ndarray:
    """Follows zeros through the whole program.

    Args:
      trace: A traced function.
      fixed: (nodes,) bool, nodes that never die. Of those nothing need be shown.

    Returns:
      (nodes,) bool: whether the slice at a node is zero whenever the node is dead.
    """
    found = fixed.copy()

    def put(value: Value, axis: int, zero: np.ndarray) -> None:
        nodes = value.nodes(axis)
        found[nodes] = zero | fixed[nodes]

    def read(value: Value, axis: int) -> np.ndarray:
        return found[value.nodes(axis)]

    for leaf in trace.program.ins[: len(trace.paths)]:
        for axis, n in enumerate(leaf.shape):
            put(leaf, axis, np.ones(n, bool))
    _flow(trace.program, read, put)
    return found


def _flow(
    program: Program,
    read: Callable[[Value, int], np.ndarray],
    put: Callable[[Value, int, np.ndarray], None],
) -> None:
    for step in program.steps:
        for x in (*step.ins, *step.outs):  # constants
            if is_zero(x, program):
                for axis, n in enumerate(x.shape):
                    put(x, axis, np.ones(n, bool))
        if step.name in ZERO:
            ZERO[step.name](step, read, put, lambda body: _flow(body, read, put))
            continue
        for out, axes in zip(step.outs, rule_of(step).zero(step, read, program), strict=True):
            for axis, zero in enumerate(axes):
                put(out, axis, zero if not is_zero(out, program) else np.ones_like(zero))
