"""Work: how many operations each step of a traced function does, as XLA counts them.

The work of a step is a number times the lengths of some axes: batch, output channels and input
channels for a convolution, say. Axes get shorter as units die, the number stays.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from gpnas.units.graph._trace import Program, Step, Value

# Operations an element of the result. What is neither here nor below moves numbers about, or is a
# function such as exp, which XLA counts by itself.
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


class Work(NamedTuple):
    """Operations of a step: `times` the product of the lengths of its axes.

    Attributes:
      step: The step.
      times: How often, for each index along all the axes together.
      axes: Nodes of each axis, (n,) int64.
      turns: How often the step itself is done, which `times` includes.
    """

    step: Step
    times: float
    axes: tuple[np.ndarray, ...]
    turns: int = 1

    def whole(self) -> float:
        """Operations with nothing dead."""
        return self.times * math.prod(len(nodes) for nodes in self.axes)


def all_work(program: Program) -> Iterator[Work]:
    """Work of each step: multiply-accumulates of products and convolutions, else operations.

    A scan's body counts for each of its turns, a while loop's once, of branches the dearest.
    """
    for step in program.steps:
        if step.bodies:
            for turns, body in _bodies(step):
                for work in all_work(body):
                    yield work._replace(times=work.times * turns, turns=work.turns * turns)
        elif step.name in PRODUCTS:
            yield _product(step)
        elif not all(out.id in program.known for out in step.outs):
            yield from _other(step)


def padded_macs(step: Step) -> int:
    """Multiply-accumulates of a product, products with padding included; else its results' size."""
    out = math.prod(step.outs[0].shape)
    if step.name == "dot_general":
        (contracted, _), _ = step.params["dimension_numbers"]
        return out * math.prod(step.ins[0].shape[axis] for axis in contracted)
    if step.name != "conv_general_dilated":
        return out
    (_, kernel, places), spaced = step.params["dimension_numbers"], step.params["lhs_dilation"]
    y, w = step.outs[0].shape, step.ins[1].shape
    total = y[places[0]] * y[places[1]] * w[kernel[1]]
    for i in range(len(places) - 2):  # the zeros between a dilated input's numbers are no padding
        dense = y[places[2 + i]] * w[kernel[2 + i]]
        total *= dense if spaced[i] == 1 else _meetings(step, i)
    return total


def _bodies(step: Step) -> Iterator[tuple[int, Program]]:
    if step.name == "scan":
        yield step.params["length"], step.bodies[0]
    elif step.name == "while":
        yield from ((1, body) for body in step.bodies)
    elif step.name == "cond":
        yield 1, max(step.bodies, key=lambda body: sum(w.whole() for w in all_work(body)))
    else:  # a function and its derivative
        yield 1, step.bodies[0]


def _axes(value: Value) -> tuple[np.ndarray, ...]:
    return tuple(value.nodes(axis) for axis in range(len(value.shape)))


def _product(step: Step) -> Work:
    if step.name == "dot_general":
        (contracted, _), _ = step.params["dimension_numbers"]
        inside = tuple(step.ins[0].nodes(axis) for axis in contracted)
        return Work(step, 1.0, _axes(step.outs[0]) + inside)
    numbers = step.params["dimension_numbers"]
    y, (_, kernel, out) = step.outs[0], numbers
    times, axes = 1, [y.nodes(out[0]), y.nodes(out[1]), step.ins[1].nodes(kernel[1])]
    for i in range(len(out) - 2):
        meetings = _meetings(step, i)
        if step.ins[1].shape[kernel[2 + i]] == 1 and meetings == y.shape[out[2 + i]]:
            axes.append(y.nodes(out[2 + i]))
        else:
            times *= meetings
    return Work(step, float(times), tuple(axes))


def _meetings(step: Step, i: int) -> int:
    """Pairs of a place and a kernel's index that meet a number, not padding, along one axis."""
    params, (lhs, kernel, out) = step.params, step.params["dimension_numbers"]
    size, width = step.ins[0].shape[lhs[2 + i]], step.ins[1].shape[kernel[2 + i]]
    low, spaced = params["padding"][i][0], params["lhs_dilation"][i]
    place = np.arange(step.outs[0].shape[out[2 + i]])[:, None] * params["window_strides"][i] - low
    place = place + np.arange(width) * params["rhs_dilation"][i]
    meets = (place >= 0) & (place <= (size - 1) * spaced) & (place % spaced == 0)
    return int(meets.sum())


def _other(step: Step) -> Iterator[Work]:
    (first, *_) = step.outs
    if step.name in ELEMENTWISE:
        yield Work(step, ELEMENTWISE[step.name], _axes(first))
    elif step.name == "integer_pow":
        yield Work(step, float(_multiplications(abs(step.params["y"]))), _axes(first))
    elif step.name in REDUCTIONS:
        yield Work(step, 1.0, _axes(step.ins[0]))
        yield Work(step, -1.0, _axes(first))
    elif step.name in WINDOWS:
        window = math.prod(step.params["window_dimensions"])
        yield Work(step, window - 1.0, _axes(first))


def _multiplications(power: int) -> int:
    """Of a power by repeated squaring."""
    return max(0, power.bit_length() - 1 + power.bit_count() - 1)
