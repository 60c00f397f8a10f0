"""Rules of loops, branches and custom derivatives, which have bodies."""

from collections.abc import Callable, Iterator
from typing import Any

import jax
from jax import lax

from gpnas.units.graph._bodies import common_axes, passages, scan_counts, while_parts
from gpnas.units.graph._rule import Relation, Rule, Same, ShrinkContext
from gpnas.units.graph._trace import Graph, Op


def _relations(op: Op, graph: Graph) -> Iterator[Relation]:
    """Relates values outside and inside, which have the same nodes."""
    for pairs in passages(op):
        for source, target in pairs:
            for a, b in common_axes(source, target):
                yield Same(source.nodes(a), target.nodes(b))


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


def _while_shrink(op: Op, args: list, to: ShrinkContext) -> Any:
    condition, body = op.bodies
    of_condition, of_body, start = while_parts(op, args)
    return lax.while_loop(
        lambda state: to.run(condition, [*of_condition, *state])[0],
        lambda state: to.run(body, [*of_body, *state]),
        start,
    )


def _cond_shrink(op: Op, args: list, to: ShrinkContext) -> Any:
    def branch(body: Graph) -> Callable[..., list]:
        return lambda *operands: to.run(body, list(operands))

    return lax.switch(args[0], [branch(body) for body in op.bodies], *args[1:])


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


RULES = {
    "scan": Rule(relations=_relations, shrink=_scan_shrink),
    "while": Rule(relations=_relations, shrink=_while_shrink),
    "cond": Rule(relations=_relations, shrink=_cond_shrink),
    "custom_jvp_call": Rule(relations=_relations, shrink=_custom_jvp_shrink),
    "custom_vjp_call": Rule(relations=_relations, shrink=_custom_vjp_shrink),
    "custom_vjp_call_jaxpr": Rule(relations=_relations, shrink=_custom_vjp_shrink),
}
