"""Operation counts of each primitive of a traced function, as in XLA's cost analysis.

The count is a constant times the lengths of some axes: batch, output and input channels for a
convolution, for example. Removing units shortens the axes and leaves the constant.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from gpnas.units.graph import Graph, Op, Value

# Operations per element of the result. Primitives that are not listed here or below move data, or
# are transcendental functions such as exp, which XLA counts apart.
ELEMENTWISE = dict.fromkeys(
    (
        "add", "add_any", "sub", "mul", "div", "rem", "max", "min", "neg", "abs", "sign", "floor",
        "ceil", "round", "square", "select_n", "clamp", "convert_element_type", "is_finite",
        "eq", "ne", "lt", "le", "gt", "ge", "and", "or", "xor", "not",
    ),
    1.0,
) | {"logistic": 3.0}  # fmt: skip
REDUCTIONS = frozenset((
    "reduce_sum", "reduce_max", "reduce_min", "reduce_prod", "reduce_and", "reduce_or", "argmax",
    "argmin",
))  # fmt: skip
WINDOWS = frozenset(
    ("reduce_window", "reduce_window_sum", "reduce_window_max", "reduce_window_min")
)
PRODUCTS = frozenset(("dot_general", "conv_general_dilated"))


class OpCount(NamedTuple):
    """Operations of a primitive: `times` multiplied by the lengths of its axes.

    Attributes:
      op: The primitive.
      times: Operations per index of the product of the axes, repetitions included.
      axes: Nodes of each axis, (n,) int64.
      repeats: How often the primitive is executed (in loops).
    """

    op: Op
    times: float
    axes: tuple[np.ndarray, ...]
    repeats: int = 1

    def total(self) -> float:
        """Operations if no unit is removed."""
        return self.times * self._indices()

    def padded_times(self) -> float:
        """MACs of a product or convolution per index, including padding."""
        return self.repeats * padded_macs(self.op) / self._indices()

    def _indices(self) -> int:
        return math.prod(len(nodes) for nodes in self.axes)


def op_counts(graph: Graph) -> Iterator[OpCount]:
    """Counts MACs of products and convolutions, and operations of all other primitives.

    The body of a scan counts once per iteration, that of a while loop once; of branches only the
    most expensive one counts.
    """
    for op in graph.ops:
        if op.bodies:
            for repeats, body in _bodies(op):
                for count in op_counts(body):
                    yield count._replace(
                        times=count.times * repeats, repeats=count.repeats * repeats
                    )
        elif op.name in PRODUCTS:
            yield _product(op)
        elif not all(out.id in graph.known for out in op.outs):
            yield from _other(op)


def padded_macs(op: Op) -> int:
    """Returns the MACs of a product or convolution, including padding; else the result's size."""
    out = math.prod(op.outs[0].shape)
    if op.name == "dot_general":
        (contracted, _), _ = op.params["dimension_numbers"]
        return out * math.prod(op.ins[0].shape[axis] for axis in contracted)
    if op.name != "conv_general_dilated":
        return out
    (_, kernel, places), spaced = op.params["dimension_numbers"], op.params["lhs_dilation"]
    y, w = op.outs[0].shape, op.ins[1].shape
    total = y[places[0]] * y[places[1]] * w[kernel[1]]
    for i in range(len(places) - 2):  # zeros inside a dilated input do not count as padding
        dense = y[places[2 + i]] * w[kernel[2 + i]]
        total *= dense if spaced[i] == 1 else _valid_pairs(op, i)
    return total


def _bodies(op: Op) -> Iterator[tuple[int, Graph]]:
    if op.name == "scan":
        yield op.params["length"], op.bodies[0]
    elif op.name == "while":
        yield from ((1, body) for body in op.bodies)
    elif op.name == "cond":
        yield 1, max(op.bodies, key=lambda body: sum(w.total() for w in op_counts(body)))
    else:  # a function with a custom derivative
        yield 1, op.bodies[0]


def _axes(value: Value) -> tuple[np.ndarray, ...]:
    return tuple(value.nodes(axis) for axis in range(len(value.shape)))


def _product(op: Op) -> OpCount:
    if op.name == "dot_general":
        (contracted, _), _ = op.params["dimension_numbers"]
        inside = tuple(op.ins[0].nodes(axis) for axis in contracted)
        return OpCount(op, 1.0, _axes(op.outs[0]) + inside)
    numbers = op.params["dimension_numbers"]
    y, (_, kernel, out) = op.outs[0], numbers
    times, axes = 1, [y.nodes(out[0]), y.nodes(out[1]), op.ins[1].nodes(kernel[1])]
    for i in range(len(out) - 2):
        pairs = _valid_pairs(op, i)
        if op.ins[1].shape[kernel[2 + i]] == 1 and pairs == y.shape[out[2 + i]]:
            axes.append(y.nodes(out[2 + i]))
        else:
            times *= pairs
    return OpCount(op, float(times), tuple(axes))


def _valid_pairs(op: Op, i: int) -> int:
    """Counts pairs (output position, kernel index) along a spatial axis that are not on padding."""
    params, (lhs, kernel, out) = op.params, op.params["dimension_numbers"]
    size, width = op.ins[0].shape[lhs[2 + i]], op.ins[1].shape[kernel[2 + i]]
    low, spaced = params["padding"][i][0], params["lhs_dilation"][i]
    place = np.arange(op.outs[0].shape[out[2 + i]])[:, None] * params["window_strides"][i] - low
    place = place + np.arange(width) * params["rhs_dilation"][i]
    valid = (place >= 0) & (place <= (size - 1) * spaced) & (place % spaced == 0)
    return int(valid.sum())


def _other(op: Op) -> Iterator[OpCount]:
    (first, *_) = op.outs
    if op.name in ELEMENTWISE:
        yield OpCount(op, ELEMENTWISE[op.name], _axes(first))
    elif op.name == "integer_pow":
        yield OpCount(op, float(_multiplications(abs(op.params["y"]))), _axes(first))
    elif op.name in REDUCTIONS:
        yield OpCount(op, 1.0, _axes(op.ins[0]))
        yield OpCount(op, -1.0, _axes(first))
    elif op.name in WINDOWS:
        window = math.prod(op.params["window_dimensions"])
        yield OpCount(op, window - 1.0, _axes(first))


def _multiplications(power: int) -> int:
    """Returns the number of multiplications of a power by repeated squaring."""
    return max(0, power.bit_length() - 1 + power.bit_count() - 1)
