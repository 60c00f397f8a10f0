"""Finds slices of arrays that are zero if the parameters of removed units are zero."""

from collections.abc import Callable, Sequence

import numpy as np

from gpnas.units.graph._bodies import Pair, common_axes, passages
from gpnas.units.graph._rule import Zero, is_zero
from gpnas.units.graph._rules import rule_of
from gpnas.units.graph._trace import Graph, Op, Trace, Value

SetZero = Callable[[Value, int, np.ndarray], None]


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


def _flow(graph: Graph, read: Zero, put: SetZero) -> None:
    for op in graph.ops:
        for x in (*op.ins, *op.outs):  # constants
            if is_zero(x, graph):
                for axis, n in enumerate(x.shape):
                    put(x, axis, np.ones(n, bool))
        if op.bodies:
            _through(op, read, put)
            continue
        for out, axes in zip(op.outs, rule_of(op).zero(op, read, graph), strict=True):
            for axis, zero in enumerate(axes):
                put(out, axis, zero if not is_zero(out, graph) else np.ones_like(zero))


def _through(op: Op, read: Zero, put: SetZero) -> None:
    """Propagates zeros through bodies; for a loop, until the carry reaches a fixed point.

    Tangents of zero slices are zero; nothing is known about cotangents.
    """
    entries, backs, exits, derivative, _ = passages(op)
    _copy([*entries, *derivative], read, put)
    again = True
    while again:
        for body in op.bodies:
            _flow(body, read, put)
        again = _copy(backs, read, put, both=True)
    written: set[int] = set()
    for source, out in exits:
        _copy([(source, out)], read, put, both=out.id in written)
        written.add(out.id)


def _copy(pairs: Sequence[Pair], read: Zero, put: SetZero, both: bool = False) -> bool:
    """Copies zeros from sources to targets; `both`: only where targets have them, too.

    For example, the carry of a loop is zero if it is zero before and after each iteration.

    Returns:
      Whether a target changed.
    """
    changed = False
    for source, target in pairs:
        for a, b in common_axes(source, target):
            new, old = read(source, a), read(target, b)
            new = new & old if both else new
            changed |= not np.array_equal(new, old)
            put(target, b, new)
    return changed
