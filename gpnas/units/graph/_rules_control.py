"""Rules of loops, branches and custom derivatives, all of which have programs of their own.

What goes in, what is carried and what comes out is the same outside and inside.
"""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from jax import lax

from gpnas.units.graph._rule import Relation, Rule, Same, Shrinking, Zero, no_links
from gpnas.units.graph._trace import Program, Step, Value

Pair = tuple[Value, Value]
Flow = Callable[[Program], None]
SetZero = Callable[[Value, int, np.ndarray], None]


def _together(a: Value, b: Value, skip: int = 0) -> Iterator[Relation]:
    """All axes of b are those of a, but for some first ones of a."""
    for axis in range(len(b.shape)):
        yield Same(a.nodes(axis + skip), b.nodes(axis))


def scan_counts(step: Step) -> tuple[int, int]:
    """Numbers of constants and of what is carried; JAX 0.12 has a tree of operands."""
    if "num_carry" in step.params:
        return step.params["num_consts"], step.params["num_carry"]
    consts, carry, _ = step.params["ft_in"].update(list(range(len(step.ins)))).unpack()
    return len(list(consts)), len(list(carry))


def _scan_pairs(step: Step) -> tuple[list[Pair], list[Pair], list[Pair], list[Pair], list[Pair]]:
    """(constants, first carry, slices, last carry, stacked results): outside, inside."""
    consts, carry = scan_counts(step)
    (body,) = step.bodies
    into = list(zip(step.ins, body.ins, strict=True))
    out = list(zip(step.outs, body.outs, strict=True))
    return (
        into[:consts], into[consts : consts + carry], into[consts + carry :],
        out[:carry], out[carry:],
    )  # fmt: skip


def _scan_more(step: Step, program: Program) -> Iterator[Relation]:
    consts, first, slices, last, stacked = _scan_pairs(step)
    for a, b in consts + first + last:
        yield from _together(a, b)
    for (_, start), (_, end) in zip(first, last, strict=True):
        yield from _together(start, end)
    for a, b in slices + stacked:
        yield from _together(a, b, skip=1)


def _scan_shrink(step: Step, args: list, to: Shrinking) -> Any:
    consts, carry = scan_counts(step)
    (body,) = step.bodies

    def turn(state: list, x: list) -> tuple[list, list]:
        out = to.run(body, [*args[:consts], *state, *x])
        return out[:carry], out[carry:]

    state, stacked = lax.scan(
        turn,
        args[consts : consts + carry],
        args[consts + carry :],
        step.params["length"],
        step.params["reverse"],
        step.params["unroll"],
    )
    return [*state, *stacked]


def while_parts(step: Step, values: Any) -> tuple[list, list, list]:
    """A loop's operands: constants of its condition, those of its body, what is carried."""
    a, b = step.params["cond_nconsts"], step.params["body_nconsts"]
    values = list(values)
    return values[:a], values[a : a + b], values[a + b :]


def _while_more(step: Step, program: Program) -> Iterator[Relation]:
    condition, body = step.bodies
    of_condition, of_body, start = while_parts(step, step.ins)
    for pairs in (
        zip(of_condition + start, condition.ins, strict=True),
        zip(of_body + start, body.ins, strict=True),
        zip(start, body.outs, strict=True),
        zip(start, step.outs, strict=True),
    ):
        for a, b in pairs:
            yield from _together(a, b)


def _while_shrink(step: Step, args: list, to: Shrinking) -> Any:
    condition, body = step.bodies
    of_condition, of_body, start = while_parts(step, args)
    return lax.while_loop(
        lambda state: to.run(condition, [*of_condition, *state])[0],
        lambda state: to.run(body, [*of_body, *state]),
        start,
    )


def _cond_more(step: Step, program: Program) -> Iterator[Relation]:
    for body in step.bodies:
        for a, b in zip((*step.ins[1:], *step.outs), (*body.ins, *body.outs), strict=True):
            yield from _together(a, b)


def _cond_shrink(step: Step, args: list, to: Shrinking) -> Any:
    def branch(body: Program) -> Callable[..., list]:
        return lambda *operands: to.run(body, list(operands))

    return lax.switch(args[0], [branch(body) for body in step.bodies], *args[1:])


def _custom_pairs(step: Step) -> tuple[list[Pair], list[Pair], list[Pair], list[Pair]]:
    """(operands, results, operands of the rule, results of the rule): outside, inside."""
    function, rule = step.bodies
    real = [step.ins[i] for i in step.params["differentiable"]]
    jvp = step.name == "custom_jvp_call"
    into = [*step.ins, *(real if jvp else step.outs)]
    out = [*step.outs, *step.outs] if jvp else real
    return (
        list(zip(step.ins, function.ins, strict=True)),
        list(zip(step.outs, function.outs, strict=True)),
        list(zip(into, rule.ins, strict=True)),
        list(zip(out, rule.outs, strict=True)),
    )


def _custom_more(step: Step, program: Program) -> Iterator[Relation]:
    for pairs in _custom_pairs(step):
        for a, b in pairs:
            yield from _together(a, b)


def _custom_zero(step: Step, zero: Zero, put: SetZero, flow: Flow) -> None:
    """What is zero has tangents that are zero; of cotangents nothing is known."""
    function, rule = step.bodies
    into, out, into_rule, _ = _custom_pairs(step)
    _copy_zero(into, zero, put)
    flow(function)
    _copy_zero([(inside, outside) for outside, inside in out], zero, put)
    jvp = step.name == "custom_jvp_call"
    _copy_zero(into_rule if jvp else into_rule[: len(into)], zero, put)
    flow(rule)


def _custom_jvp_shrink(step: Step, args: list, to: Shrinking) -> Any:
    function, rule = step.bodies
    real = step.params["differentiable"]

    @jax.custom_jvp
    def f(*args: Any) -> list:
        return to.run(function, list(args))

    @f.defjvp
    def derivative(args: Any, tangents: Any) -> tuple[list, list]:
        found = to.run(rule, [*args, *(tangents[i] for i in real)])
        return found[: len(step.outs)], found[len(step.outs) :]

    del derivative
    return f(*args)


def _custom_vjp_shrink(step: Step, args: list, to: Shrinking) -> Any:
    function, rule = step.bodies

    @jax.custom_vjp
    def f(*args: Any) -> list:
        return to.run(function, list(args))

    def backward(args: Any, cotangents: Any) -> tuple:
        found = dict(
            zip(step.params["differentiable"], to.run(rule, [*args, *cotangents]), strict=True)
        )
        return tuple(found.get(i) for i in range(len(args)))

    f.defvjp(lambda *args: (f(*args), args), backward)
    return f(*args)


def _copy_zero(pairs: Any, zero: Zero, put: SetZero, skip: int = 0, both: bool = False) -> bool:
    """Carries over what is zero from the first of each pair; whether that changed anything."""
    changed = False
    for a, b in pairs:
        for axis in range(min(len(a.shape), len(b.shape)) if skip == 0 else len(b.shape)):
            new, old = zero(a, axis + skip), zero(b, axis)
            new = new & old if both else new
            changed |= not np.array_equal(new, old)
            put(b, axis, new)
    return changed


def _settle(carried: list[Pair], body: Program, zero: Zero, put: SetZero, flow: Flow) -> None:
    """Walks a loop's body until what is zero on the way in is so on the way out, too."""
    flow(body)
    while _copy_zero(carried, zero, put, both=True):
        flow(body)


def _scan_zero(step: Step, zero: Zero, put: SetZero, flow: Flow) -> None:
    (body,) = step.bodies
    consts, first, slices, last, stacked = _scan_pairs(step)
    _copy_zero(consts + first, zero, put)
    _copy_zero(slices, zero, put, skip=1)
    back = [(end, start) for (_, start), (_, end) in zip(first, last, strict=True)]
    _settle(back, body, zero, put, flow)
    for outside, inside in last:
        _copy_zero([(inside, outside)], zero, put)
    for outside, inside in stacked:
        for axis in range(len(inside.shape)):
            put(outside, axis + 1, zero(inside, axis))


def _while_zero(step: Step, zero: Zero, put: SetZero, flow: Flow) -> None:
    condition, body = step.bodies
    of_condition, of_body, start = while_parts(step, step.ins)
    _copy_zero(zip(of_body + start, body.ins, strict=True), zero, put)
    inside = body.ins[len(of_body) :]
    _settle(list(zip(body.outs, inside, strict=True)), body, zero, put, flow)
    _copy_zero(zip(of_condition, condition.ins, strict=False), zero, put)
    _copy_zero(zip(inside, condition.ins[len(of_condition) :], strict=True), zero, put)
    flow(condition)
    _copy_zero(zip(inside, step.outs, strict=True), zero, put)


def _cond_zero(step: Step, zero: Zero, put: SetZero, flow: Flow) -> None:
    for i, body in enumerate(step.bodies):
        _copy_zero(zip(step.ins[1:], body.ins, strict=True), zero, put)
        flow(body)
        _copy_zero(zip(body.outs, step.outs, strict=True), zero, put, both=i > 0)


RULES = {
    "scan": Rule(no_links, _scan_more, shrink=_scan_shrink),
    "while": Rule(no_links, _while_more, shrink=_while_shrink),
    "cond": Rule(no_links, _cond_more, shrink=_cond_shrink),
    "custom_jvp_call": Rule(no_links, _custom_more, shrink=_custom_jvp_shrink),
    "custom_vjp_call": Rule(no_links, _custom_more, shrink=_custom_vjp_shrink),
    "custom_vjp_call_jaxpr": Rule(no_links, _custom_more, shrink=_custom_vjp_shrink),
}
ZERO = {
    "scan": _scan_zero,
    "while": _while_zero,
    "cond": _cond_zero,
    "custom_jvp_call": _custom_zero,
    "custom_vjp_call": _custom_zero,
    "custom_vjp_call_jaxpr": _custom_zero,
}
