"""Rules of loops, branches and custom derivatives, which have graphs of their own.

Operands, carried values and results have the same nodes outside and inside.
"""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from jax import lax

from gpnas.units.graph._rule import Relation, Rule, Same, ShrinkContext, Zero, no_links
from gpnas.units.graph._trace import Graph, Op, Value

Pair = tuple[Value, Value]
Flow = Callable[[Graph], None]
SetZero = Callable[[Value, int, np.ndarray], None]


def _together(a: Value, b: Value, skip: int = 0) -> Iterator[Relation]:
    """The axes of `b` are those of `a` after the first `skip`."""
    for axis in range(len(b.shape)):
        yield Same(a.nodes(axis + skip), b.nodes(axis))


def scan_counts(op: Op) -> tuple[int, int]:
    """(number of constants, number of carried values); JAX 0.12 stores a tree of operands."""
    if "num_carry" in op.params:
        return op.params["num_consts"], op.params["num_carry"]
    consts, carry, _ = op.params["ft_in"].update(list(range(len(op.ins)))).unpack()
    return len(list(consts)), len(list(carry))


def _scan_pairs(op: Op) -> tuple[list[Pair], list[Pair], list[Pair], list[Pair], list[Pair]]:
    """(constants, first carry, slices, last carry, stacked results), as pairs (outside, inside)."""
    consts, carry = scan_counts(op)
    (body,) = op.bodies
    into = list(zip(op.ins, body.ins, strict=True))
    out = list(zip(op.outs, body.outs, strict=True))
    return (
        into[:consts], into[consts : consts + carry], into[consts + carry :],
        out[:carry], out[carry:],
    )  # fmt: skip


def _scan_relations(op: Op, graph: Graph) -> Iterator[Relation]:
    consts, first, slices, last, stacked = _scan_pairs(op)
    for a, b in consts + first + last:
        yield from _together(a, b)
    for (_, start), (_, end) in zip(first, last, strict=True):
        yield from _together(start, end)
    for a, b in slices + stacked:
        yield from _together(a, b, skip=1)


def _scan_shrink(op: Op, args: list, to: ShrinkContext) -> Any:
    consts, carry = scan_counts(op)
    (body,) = op.bodies

    def turn(state: list, x: list) -> tuple[list, list]:
        out = to.run(body, [*args[:consts], *state, *x])
        return out[:carry], out[carry:]

    state, stacked = lax.scan(
        turn,
        args[consts : consts + carry],
        args[consts + carry :],
        op.params["length"],
        op.params["reverse"],
        op.params["unroll"],
    )
    return [*state, *stacked]


def while_parts(op: Op, values: Any) -> tuple[list, list, list]:
    """Operands of a while loop: (constants of the condition, constants of the body, carry)."""
    a, b = op.params["cond_nconsts"], op.params["body_nconsts"]
    values = list(values)
    return values[:a], values[a : a + b], values[a + b :]


def _while_relations(op: Op, graph: Graph) -> Iterator[Relation]:
    condition, body = op.bodies
    of_condition, of_body, start = while_parts(op, op.ins)
    for pairs in (
        zip(of_condition + start, condition.ins, strict=True),
        zip(of_body + start, body.ins, strict=True),
        zip(start, body.outs, strict=True),
        zip(start, op.outs, strict=True),
    ):
        for a, b in pairs:
            yield from _together(a, b)


def _while_shrink(op: Op, args: list, to: ShrinkContext) -> Any:
    condition, body = op.bodies
    of_condition, of_body, start = while_parts(op, args)
    return lax.while_loop(
        lambda state: to.run(condition, [*of_condition, *state])[0],
        lambda state: to.run(body, [*of_body, *state]),
        start,
    )


def _cond_relations(op: Op, graph: Graph) -> Iterator[Relation]:
    for body in op.bodies:
        for a, b in zip((*op.ins[1:], *op.outs), (*body.ins, *body.outs), strict=True):
            yield from _together(a, b)


def _cond_shrink(op: Op, args: list, to: ShrinkContext) -> Any:
    def branch(body: Graph) -> Callable[..., list]:
        return lambda *operands: to.run(body, list(operands))

    return lax.switch(args[0], [branch(body) for body in op.bodies], *args[1:])


def _custom_pairs(op: Op) -> tuple[list[Pair], list[Pair], list[Pair], list[Pair]]:
    """(operands, results, operands and results of the derivative), as pairs (outside, inside)."""
    function, rule = op.bodies
    real = [op.ins[i] for i in op.params["differentiable"]]
    jvp = op.name == "custom_jvp_call"
    into = [*op.ins, *(real if jvp else op.outs)]
    out = [*op.outs, *op.outs] if jvp else real
    return (
        list(zip(op.ins, function.ins, strict=True)),
        list(zip(op.outs, function.outs, strict=True)),
        list(zip(into, rule.ins, strict=True)),
        list(zip(out, rule.outs, strict=True)),
    )


def _custom_relations(op: Op, graph: Graph) -> Iterator[Relation]:
    for pairs in _custom_pairs(op):
        for a, b in pairs:
            yield from _together(a, b)


def _custom_zero(op: Op, zero: Zero, put: SetZero, flow: Flow) -> None:
    """Tangents of zero slices are zero; nothing is known of cotangents."""
    function, rule = op.bodies
    into, out, into_rule, _ = _custom_pairs(op)
    _copy_zero(into, zero, put)
    flow(function)
    _copy_zero([(inside, outside) for outside, inside in out], zero, put)
    jvp = op.name == "custom_jvp_call"
    _copy_zero(into_rule if jvp else into_rule[: len(into)], zero, put)
    flow(rule)


def _custom_jvp_shrink(op: Op, args: list, to: ShrinkContext) -> Any:
    function, rule = op.bodies
    real = op.params["differentiable"]

    @jax.custom_jvp
    def f(*args: Any) -> list:
        return to.run(function, list(args))

    @f.defjvp
    def derivative(args: Any, tangents: Any) -> tuple[list, list]:
        found = to.run(rule, [*args, *(tangents[i] for i in real)])
        return found[: len(op.outs)], found[len(op.outs) :]

    del derivative
    return f(*args)


def _custom_vjp_shrink(op: Op, args: list, to: ShrinkContext) -> Any:
    function, rule = op.bodies

    @jax.custom_vjp
    def f(*args: Any) -> list:
        return to.run(function, list(args))

    def backward(args: Any, cotangents: Any) -> tuple:
        found = dict(
            zip(op.params["differentiable"], to.run(rule, [*args, *cotangents]), strict=True)
        )
        return tuple(found.get(i) for i in range(len(args)))

    f.defvjp(lambda *args: (f(*args), args), backward)
    return f(*args)


def _copy_zero(pairs: Any, zero: Zero, put: SetZero, skip: int = 0, both: bool = False) -> bool:
    """Copies zero flags from the first to the second of each pair; returns whether any changed."""
    changed = False
    for a, b in pairs:
        for axis in range(min(len(a.shape), len(b.shape)) if skip == 0 else len(b.shape)):
            new, old = zero(a, axis + skip), zero(b, axis)
            new = new & old if both else new
            changed |= not np.array_equal(new, old)
            put(b, axis, new)
    return changed


def _settle(carried: list[Pair], body: Graph, zero: Zero, put: SetZero, flow: Flow) -> None:
    """Propagates through a loop body until its carry is zero on entry only where it is on exit."""
    flow(body)
    while _copy_zero(carried, zero, put, both=True):
        flow(body)


def _scan_zero(op: Op, zero: Zero, put: SetZero, flow: Flow) -> None:
    (body,) = op.bodies
    consts, first, slices, last, stacked = _scan_pairs(op)
    _copy_zero(consts + first, zero, put)
    _copy_zero(slices, zero, put, skip=1)
    back = [(end, start) for (_, start), (_, end) in zip(first, last, strict=True)]
    _settle(back, body, zero, put, flow)
    for outside, inside in last:
        _copy_zero([(inside, outside)], zero, put)
    for outside, inside in stacked:
        for axis in range(len(inside.shape)):
            put(outside, axis + 1, zero(inside, axis))


def _while_zero(op: Op, zero: Zero, put: SetZero, flow: Flow) -> None:
    condition, body = op.bodies
    of_condition, of_body, start = while_parts(op, op.ins)
    _copy_zero(zip(of_body + start, body.ins, strict=True), zero, put)
    inside = body.ins[len(of_body) :]
    _settle(list(zip(body.outs, inside, strict=True)), body, zero, put, flow)
    _copy_zero(zip(of_condition, condition.ins, strict=False), zero, put)
    _copy_zero(zip(inside, condition.ins[len(of_condition) :], strict=True), zero, put)
    flow(condition)
    _copy_zero(zip(inside, op.outs, strict=True), zero, put)


def _cond_zero(op: Op, zero: Zero, put: SetZero, flow: Flow) -> None:
    for i, body in enumerate(op.bodies):
        _copy_zero(zip(op.ins[1:], body.ins, strict=True), zero, put)
        flow(body)
        _copy_zero(zip(body.outs, op.outs, strict=True), zero, put, both=i > 0)


RULES = {
    "scan": Rule(no_links, _scan_relations, shrink=_scan_shrink),
    "while": Rule(no_links, _while_relations, shrink=_while_shrink),
    "cond": Rule(no_links, _cond_relations, shrink=_cond_shrink),
    "custom_jvp_call": Rule(no_links, _custom_relations, shrink=_custom_jvp_shrink),
    "custom_vjp_call": Rule(no_links, _custom_relations, shrink=_custom_vjp_shrink),
    "custom_vjp_call_jaxpr": Rule(no_links, _custom_relations, shrink=_custom_vjp_shrink),
}
ZERO = {
    "scan": _scan_zero,
    "while": _while_zero,
    "cond": _cond_zero,
    "custom_jvp_call": _custom_zero,
    "custom_vjp_call": _custom_zero,
    "custom_vjp_call_jaxpr": _custom_zero,
}
