"""Which leaves of the variables each value of a traced function is computed from."""

from collections.abc import Iterable

from gpnas.units.graph._bodies import passages
from gpnas.units.graph._trace import CUSTOM, Graph, Op, Trace

Origin = frozenset[int] | None  # ids of leaves; None: the value also depends on other inputs


def trace_origins(traced: Trace) -> dict[int, Origin]:
    """Returns `{id of a value: its origin}`, including values in loops and branches."""
    graph, variables = traced.graph, len(traced.paths)
    found: dict[int, Origin] = dict.fromkeys(x.id for x in graph.ins)
    found |= {leaf.id: frozenset((leaf.id,)) for leaf in graph.ins[:variables]}
    _flow(graph, found)
    return found


def _union(origins: Iterable[Origin]) -> Origin:
    each = list(origins)
    known = [origin for origin in each if origin is not None]
    return frozenset().union(*known) if len(known) == len(each) else None


def _flow(graph: Graph, found: dict[int, Origin]) -> None:
    """Adds the origins of a graph's values to `found`, which has those of its inputs."""
    found |= dict.fromkeys(graph.constants, frozenset())
    for op in graph.ops:
        if op.bodies:
            _through(op, found)
        else:
            found |= dict.fromkeys([x.id for x in op.outs], _union(found[x.id] for x in op.ins))


def _through(op: Op, found: dict[int, Origin]) -> None:
    """Adds the origins of values in bodies; for a loop, the fixed point over its carried values."""
    entries, backs, exits, *_ = passages(op)
    found |= {inside.id: found[x.id] for x, inside in entries}
    settled = False
    while not settled:
        for body in op.bodies[:1] if op.name in CUSTOM else op.bodies:
            _flow(body, found)
        wider = {}
        for x, inside in backs:
            wider[inside.id] = _union((found[inside.id], found[x.id]))
        settled = all(found[id] == origin for id, origin in wider.items())
        found |= wider
    chosen = [found[op.ins[0].id]] if op.name == "cond" else []
    for out in op.outs:
        found[out.id] = _union(chosen + [found[x.id] for x, y in exits if y.id == out.id])
