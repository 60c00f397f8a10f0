"""Which leaves of the variables each value of a traced function is computed from."""

from collections.abc import Sequence
from typing import Any

from gpnas.units.graph._rules_control import scan_counts
from gpnas.units.graph._trace import CUSTOM, Graph, Op, Trace

Origin = frozenset[int] | None  # ids of leaves; None: the value also depends on other inputs


def trace_origins(traced: Trace) -> dict[int, Origin]:
    """`{id of a value: its origin}`, values in loops and branches included."""
    graph, variables = traced.graph, len(traced.paths)
    found: dict[int, Origin] = {}
    leaves: list[Origin] = [frozenset((leaf.id,)) for leaf in graph.ins[:variables]]
    _flow(graph, leaves + [None] * (len(graph.ins) - variables), found)
    return found


def _union(origins: Sequence[Origin]) -> Origin:
    known = [origin for origin in origins if origin is not None]
    return frozenset().union(*known) if len(known) == len(origins) else None


def _flow(graph: Graph, ins: Sequence[Origin], found: dict[int, Origin]) -> list[Origin]:
    """Adds the origins of a graph's values to `found`, and returns those of its outputs."""
    found |= dict.fromkeys(graph.constants, frozenset())
    found |= dict(zip((value.id for value in graph.ins), ins, strict=True))
    for op in graph.ops:
        outs = _through(op, [found[x.id] for x in op.ins], found)
        found |= dict(zip((out.id for out in op.outs), outs, strict=True))
    return [found[out.id] for out in graph.outs]


def _through(op: Op, args: list[Origin], found: dict[int, Origin]) -> list[Origin]:
    params: dict[str, Any] = op.params
    if op.name == "scan":
        fixed, carry = scan_counts(op)
        return _loop(op.bodies[0], args[:fixed], args[fixed:], carry, found)
    if op.name == "while":
        tests, fixed = params["cond_nconsts"], params["body_nconsts"]
        start = args[tests + fixed :]
        outs = _loop(op.bodies[1], args[tests : tests + fixed], start, len(start), found)
        _flow(op.bodies[0], args[:tests] + outs, found)
        return outs
    if op.name == "cond":
        branches = [_flow(body, args[1:], found) for body in op.bodies]
        return [_union([args[0], *outs]) for outs in zip(*branches, strict=True)]
    if op.name in CUSTOM:
        return _flow(op.bodies[0], args, found)
    return [_union(args)] * len(op.outs)


def _loop(
    body: Graph, fixed: list[Origin], moving: list[Origin], carry: int, found: dict[int, Origin]
) -> list[Origin]:
    """Origins of a loop's results: the fixed point over its carried values."""
    while True:
        outs = _flow(body, fixed + moving, found)
        wider = [_union(pair) for pair in zip(moving[:carry], outs[:carry], strict=True)]
        if wider == moving[:carry]:
            return outs
        moving = wider + moving[carry:]
