"""Which slices of arrays are exactly zero when the parameters of removed units are zero."""

from collections.abc import Callable

import numpy as np

from gpnas.units.graph._rule import is_zero
from gpnas.units.graph._rules import rule_of
from gpnas.units.graph._rules_control import ZERO
from gpnas.units.graph._trace import Graph, Trace, Value


def zero_slices(trace: Trace, fixed: np.ndarray) -> np.ndarray:
    """Propagates zeros through the graph.

    Args:
      trace: A traced function.
      fixed: (nodes,) bool, nodes that are never removed; they are assumed to be zero.

    Returns:
      (nodes,) bool: whether the slice at a node is zero whenever the node is removed.
    """
    found = fixed.copy()

    def put(value: Value, axis: int, zero: np.ndarray) -> None:
        nodes = value.nodes(axis)
        found[nodes] = zero | fixed[nodes]

    def read(value: Value, axis: int) -> np.ndarray:
        return found[value.nodes(axis)]

    for leaf in trace.graph.ins[: len(trace.paths)]:
        for axis, n in enumerate(leaf.shape):
            put(leaf, axis, np.ones(n, bool))
    _flow(trace.graph, read, put)
    return found


def _flow(
    graph: Graph,
    read: Callable[[Value, int], np.ndarray],
    put: Callable[[Value, int, np.ndarray], None],
) -> None:
    for op in graph.ops:
        for x in (*op.ins, *op.outs):  # constants
            if is_zero(x, graph):
                for axis, n in enumerate(x.shape):
                    put(x, axis, np.ones(n, bool))
        if op.name in ZERO:
            ZERO[op.name](op, read, put, lambda body: _flow(body, read, put))
            continue
        for out, axes in zip(op.outs, rule_of(op).zero(op, read, graph), strict=True):
            for axis, zero in enumerate(axes):
                put(out, axis, zero if not is_zero(out, graph) else np.ones_like(zero))
