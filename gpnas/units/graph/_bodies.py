"""Correspondence of values inside and outside a loop, branch or custom derivative.

These pairs are all that the analyses use of a primitive with bodies.
"""

from collections.abc import Sequence
from typing import NamedTuple

from gpnas.units.graph._trace import CUSTOM, Op, Value

Pair = tuple[Value, Value]


class Passages(NamedTuple):
    """Pairs (source, target) of values with the same axes, except for the axis of a scan.

    Attributes:
      entries: From operands to inputs of bodies.
      backs: From outputs of a loop's body to its inputs, for carried values.
      exits: From values of bodies to results; of a result with several sources, one is chosen.
      derivative: From operands to inputs of a custom derivative.
      cotangents: (outside, inside) values of a custom derivative that only have the same axes.
    """

    entries: Sequence[Pair]
    backs: Sequence[Pair] = ()
    exits: Sequence[Pair] = ()
    derivative: Sequence[Pair] = ()
    cotangents: Sequence[Pair] = ()

    def carried(self) -> set[int]:
        """Ids of inputs of bodies that change from one iteration to the next."""
        return {target.id for _, target in self.backs}


def passages(op: Op) -> Passages:
    """Returns the passages of a primitive with bodies."""
    if op.name == "scan":
        (body,) = op.bodies
        consts, carry = scan_counts(op)
        inside = body.ins[consts : consts + carry]
        return Passages(_pairs(op.ins, body.ins), _pairs(body.outs[:carry], inside),
                        _pairs(body.outs, op.outs))  # fmt: skip
    if op.name == "while":
        condition, body = op.bodies
        tests, fixed, start = while_parts(op, op.ins)
        inside, tested = body.ins[len(fixed) :], condition.ins[len(tests) :]
        return Passages(
            _pairs((*fixed, *start), body.ins) + _pairs((*tests, *start), condition.ins),
            _pairs(body.outs, inside) + _pairs(body.outs, tested),
            _pairs(inside, op.outs),
        )
    if op.name in CUSTOM:
        return _custom(op)
    return Passages(
        [pair for body in op.bodies for pair in _pairs(op.ins[1:], body.ins)],
        exits=[pair for body in op.bodies for pair in _pairs(body.outs, op.outs)],
    )


def _custom(op: Op) -> Passages:
    function, rule = op.bodies
    entries, exits = _pairs(op.ins, function.ins), _pairs(function.outs, op.outs)
    real = [op.ins[i] for i in op.params["differentiable"]]
    if op.name == "custom_jvp_call":
        tangents = _pairs((*op.outs, *op.outs), rule.outs)
        return Passages(entries, (), exits, _pairs((*op.ins, *real), rule.ins), tangents)
    n = len(op.ins)
    cotangents = _pairs(op.outs, rule.ins[n:]) + _pairs(real, rule.outs)
    return Passages(entries, (), exits, _pairs(op.ins, rule.ins[:n]), cotangents)


def _pairs(sources: Sequence[Value], targets: Sequence[Value]) -> list[Pair]:
    return list(zip(sources, targets, strict=True))


def common_axes(source: Value, target: Value) -> list[tuple[int, int]]:
    """Returns pairs of common axes; a value outside a scan has an additional first axis."""
    shift = len(source.shape) - len(target.shape)
    return [(axis + shift, axis) for axis in range(max(0, -shift), len(target.shape))]


def scan_counts(op: Op) -> tuple[int, int]:
    """Returns (number of constants, number of carried values) of a scan."""
    # JAX 0.12 stores a tree of operands instead of two numbers.
    if "num_carry" in op.params:
        return op.params["num_consts"], op.params["num_carry"]
    consts, carry, _ = op.params["ft_in"].update(list(range(len(op.ins)))).unpack()
    return len(list(consts)), len(list(carry))


def while_parts(op: Op, values: Sequence) -> tuple[Sequence, Sequence, Sequence]:
    """Splits operands of a while loop into (condition constants, body constants, carry)."""
    a, b = op.params["cond_nconsts"], op.params["body_nconsts"]
    return values[:a], values[a : a + b], values[a + b :]
