"""Origins: which leaves of the variables each value of a traced function is made of."""

from collections.abc import Sequence
from typing import Any

from gpnas.units.graph._rules_control import scan_counts
from gpnas.units.graph._trace import CUSTOM, Program, Step, Trace

Origin = frozenset[int] | None  # ids of leaves; None: the function's other inputs enter


def origins_of(traced: Trace) -> dict[int, Origin]:
    """The origin of each value, by its id; values in loops and branches included."""
    program, variables = traced.program, len(traced.paths)
    found: dict[int, Origin] = {}
    leaves: list[Origin] = [frozenset((leaf.id,)) for leaf in program.ins[:variables]]
    _flow(program, leaves + [None] * (len(program.ins) - variables), found)
    return found


def _union(origins: Sequence[Origin]) -> Origin:
    known = [origin for origin in origins if origin is not None]
    return frozenset().union(*known) if len(known) == len(origins) else None


def _flow(program: Program, ins: Sequence[Origin], found: dict[int, Origin]) -> list[Origin]:
    """Adds the origins of a program's values, and returns those of its results."""
    found |= dict.fromkeys(program.constants, frozenset())
    found |= dict(zip((value.id for value in program.ins), ins, strict=True))
    for step in program.steps:
        outs = _through(step, [found[x.id] for x in step.ins], found)
        found |= dict(zip((out.id for out in step.outs), outs, strict=True))
    return [found[out.id] for out in program.outs]


def _through(step: Step, args: list[Origin], found: dict[int, Origin]) -> list[Origin]:
    params: dict[str, Any] = step.params
    if step.name == "scan":
        fixed, carry = scan_counts(step)
        return _loop(step.bodies[0], args[:fixed], args[fixed:], carry, found)
    if step.name == "while":
        tests, fixed = params["cond_nconsts"], params["body_nconsts"]
        start = args[tests + fixed :]
        outs = _loop(step.bodies[1], args[tests : tests + fixed], start, len(start), found)
        _flow(step.bodies[0], args[:tests] + outs, found)
        return outs
    if step.name == "cond":
        branches = [_flow(body, args[1:], found) for body in step.bodies]
        return [_union([args[0], *outs]) for outs in zip(*branches, strict=True)]
    if step.name in CUSTOM:
        return _flow(step.bodies[0], args, found)
    return [_union(args)] * len(step.outs)


def _loop(
    body: Program, fixed: list[Origin], moving: list[Origin], carry: int, found: dict[int, Origin]
) -> list[Origin]:
    """The results of a loop, when what it carries has all the origins that it ever gets."""
    while True:
        outs = _flow(body, fixed + moving, found)
        wider = [_union(pair) for pair in zip(moving[:carry], outs[:carry], strict=True)]
        if wider == moving[:carry]:
            return outs
        moving = wider + moving[carry:]
