"""Rules of elementwise primitives."""

from collections.abc import Iterator

import numpy as np

from gpnas.units.graph._rule import (
    Link,
    Rule,
    Zero,
    all_zero,
    any_zero,
    linked,
    linked_zero,
    same_axes,
    zero_along,
)
from gpnas.units.graph._trace import Graph, Op

# f(0) = 0, or f(0, 0) = 0.
_KEEP_ZERO = (
    "neg", "sign", "abs", "sin", "tan", "tanh", "asin", "asinh", "atan", "atanh", "sinh",
    "sqrt", "cbrt", "square", "expm1", "log1p", "erf", "erf_inv", "floor", "ceil", "round",
    "real", "imag", "conj", "copy", "copy_p", "convert_element_type", "reduce_precision",
    "stop_gradient", "add", "add_any", "sub", "or", "xor", "sharding_constraint", "pvary",
    "reshard", "name",
)  # fmt: skip
_ONE_ZERO_IS_ENOUGH = ("mul", "and")
_NEVER_ZERO = (
    "exp", "exp2", "log", "logistic", "cos", "cosh", "acos", "acosh", "rsqrt", "erfc",
    "is_finite", "not", "eq", "ne", "lt", "le", "gt", "ge", "lt_to", "le_to", "rem",
    "atan2", "nextafter", "complex", "digamma", "lgamma", "igamma", "igammac", "bessel_i0e",
    "bessel_i1e", "shift_left", "shift_right_logical", "shift_right_arithmetic",
    "population_count", "clz", "polygamma", "zeta", "regularized_incomplete_beta",
    "bitcast_convert_type", "threefry2x32", "mulhi", "eq_to",
)  # fmt: skip


def _known_scalar(op: Op, graph: Graph, index: int) -> float | None:
    """Returns the value of a known constant operand, else None."""
    known = graph.known.get(op.ins[index].id)
    if known is None or not known.size or not np.all(known == known.flat[0]):
        return None
    return float(known.flat[0])


def _along(op: Op, index: int, zero: Zero) -> list[np.ndarray]:
    """Returns where an operand is zero along each axis of the result."""
    (out,) = op.outs
    return [zero_along(op.ins[index], out, axis, zero) for axis in range(len(out.shape))]


def _power(op: Op, zero: Zero, graph: Graph) -> list[list[np.ndarray]]:
    exponent = op.params["y"] if op.name == "integer_pow" else _known_scalar(op, graph, 1)
    positive = exponent is not None and exponent > 0
    return [[axis & positive for axis in _along(op, 0, zero)]]


def _quotient(op: Op, zero: Zero, graph: Graph) -> list[list[np.ndarray]]:
    """Zero where only the numerator is zero; 0 / 0 is not zero."""
    return [[a & ~b for a, b in zip(_along(op, 0, zero), _along(op, 1, zero), strict=True)]]


def _bound(op: Op, zero: Zero, graph: Graph) -> list[list[np.ndarray]]:
    """max(x, c ≤ 0) and min(x, c ≥ 0) keep zeros of x; otherwise both operands must be zero."""
    for i in (0, 1):
        c = _known_scalar(op, graph, i)
        if c is not None and (c <= 0 if op.name == "max" else c >= 0):
            return [_along(op, 1 - i, zero)]
    return linked_zero(all_zero, same_axes)(op, zero, graph)


def _clamp(op: Op, zero: Zero, graph: Graph) -> list[list[np.ndarray]]:
    low, high = (_known_scalar(op, graph, i) for i in (0, 2))
    inside = low is not None and high is not None and low <= 0 <= high
    return [[axis & inside for axis in _along(op, 1, zero)]]


def _select(op: Op, zero: Zero, graph: Graph) -> list[list[np.ndarray]]:
    """Zero where all cases are, or where the selected case is if it is known."""
    which = _known_scalar(op, graph, 0)
    cases = op._replace(ins=op.ins[1:] if which is None else (op.ins[1 + int(which)],))
    return linked_zero(all_zero, same_axes)(cases, zero, graph)


def _barrier_links(op: Op) -> Iterator[Link]:
    for i, (x, out) in enumerate(zip(op.ins, op.outs, strict=True)):
        if x.shape == out.shape:
            yield from (Link(i, axis, i, axis) for axis in range(len(x.shape)))


def _barrier_zero(op: Op, zero: Zero, graph: Graph) -> list[list[np.ndarray]]:
    return [[zero(x, axis) for axis in range(len(x.shape))] for x in op.ins]


RULES = {
    **{name: linked(same_axes) for name in _KEEP_ZERO},
    **{name: linked(same_axes, any_zero) for name in _ONE_ZERO_IS_ENOUGH},
    **{name: Rule(same_axes) for name in _NEVER_ZERO},
    "integer_pow": Rule(same_axes, zero=_power),
    "pow": Rule(same_axes, zero=_power),
    "div": Rule(same_axes, zero=_quotient),
    "max": Rule(same_axes, zero=_bound),
    "min": Rule(same_axes, zero=_bound),
    "clamp": Rule(same_axes, zero=_clamp),
    "select_n": Rule(same_axes, zero=_select),
    "optimization_barrier": Rule(_barrier_links, zero=_barrier_zero),
    "device_put": Rule(_barrier_links, zero=_barrier_zero),
}
