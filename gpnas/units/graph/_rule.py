"""What a rule about a primitive says: which nodes live and die together, and what must hold."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax

from gpnas.units.graph._trace import Program, Step, Value


class Link(NamedTuple):
    """An axis of an operand is one of a result (or parts of them are), index by index.

    Attributes:
      source, axis: Operand's number and its axis.
      out, out_axis: Result's number and its axis.
      at, to: Indices along the two, paired; None for all.
    """

    source: int
    axis: int
    out: int
    out_axis: int
    at: np.ndarray | None = None
    to: np.ndarray | None = None


class Same(NamedTuple):
    """(n,) nodes that live and die together in pairs."""

    a: np.ndarray
    b: np.ndarray


class Product(NamedTuple):
    """(n,) nodes, each of which dies where one of its factors' nodes, (n,) each, does."""

    whole: np.ndarray
    factors: tuple[np.ndarray, ...]


class Sum(NamedTuple):
    """Nodes that are summed over: what dies must count as zero in one of the operands at least.

    Attributes:
      nodes: (n,) nodes that are lost if this is not proved.
      zeros: Nodes, (n,) each, of the operands of which one must be zero.
    """

    nodes: np.ndarray
    zeros: tuple[np.ndarray, ...]


class Fixed(NamedTuple):
    """Nodes that must live, and why."""

    nodes: np.ndarray
    reason: str


class Free(NamedTuple):
    """Nodes that this step ties to nothing."""

    nodes: np.ndarray


class Made(NamedTuple):
    """Nodes of units that a layer computes."""

    nodes: np.ndarray


Relation = Same | Product | Sum | Fixed | Free | Made
Zero = Callable[[Value, int], np.ndarray]
Cut = Callable[[Value, int], np.ndarray | None]


def no_links(step: Step) -> Iterator[Link]:
    """A primitive of which nothing is known."""
    yield from ()


def nothing(step: Step, program: Program) -> Iterator[Relation]:
    """No relation but the links."""
    yield from ()


class Shrinking(NamedTuple):
    """What a rule may use when it does its primitive on smaller arrays.

    Attributes:
      cut: `(value, axis) → (n,) indices that are left`, or None for all.
      program: The program the step is in.
      run: `(body, args) → results` of a smaller body.
    """

    cut: Cut
    program: Program
    run: Callable[[Program, list], list]

    def shape(self, value: Value) -> tuple[int, ...]:
        """The smaller shape of a value."""
        cuts = (self.cut(value, axis) for axis in range(len(value.shape)))
        return tuple(
            n if left is None else len(left) for n, left in zip(value.shape, cuts, strict=True)
        )


def rebind(step: Step, args: list, to: Shrinking) -> Any:
    """The primitive as it was, on smaller operands."""
    return step.bind(*args, **step.params)


def take(x: Any, index: np.ndarray, axis: int) -> Any:
    """Some indices along an axis, as a slice if they follow each other."""
    if len(index) and np.array_equal(index, np.arange(index[0], index[0] + len(index))):
        return lax.slice_in_dim(x, int(index[0]), int(index[0]) + len(index), axis=axis)
    return jnp.take(x, np.asarray(index), axis=axis)


def take_of(x: Any, value: Value, axis: int, wanted: np.ndarray, to: Shrinking) -> Any:
    """Indices `wanted` of a whole value's axis, from the array with dead indices left out."""
    left = to.cut(value, axis)
    return take(x, wanted if left is None else np.searchsorted(left, wanted), axis)


def left_of(value: Value, axis: int, to: Shrinking) -> np.ndarray:
    """Indices along an axis that are left."""
    left = to.cut(value, axis)
    return np.arange(value.shape[axis]) if left is None else left


def whole_then_cut(step: Step, args: list, to: Shrinking) -> Any:
    """Results of which operands say nothing: computed in full, and what is left taken from them."""
    out = step.bind(*args, **step.params)
    for axis in range(len(step.outs[0].shape)):
        left = to.cut(step.outs[0], axis)
        out = out if left is None else take(out, left, axis)
    return out


def never(step: Step, zero: Zero, program: Program) -> list[list[np.ndarray]]:
    """Nothing is known to stay zero."""
    return [[np.zeros(n, bool) for n in out.shape] for out in step.outs]


class Rule(NamedTuple):
    """All that is known of a primitive.

    Attributes:
      links: `step → links`. Nodes of operands or results that neither a link nor a relation speaks
        of are fixed: what a rule forgets costs freedom, never correctness.
      more: `(step, program) → relations`.
      zero: `(step, zero, program) → for each result, for each axis, (n,) bool`: whether the slice
        at that index is exactly zero, provided the operands' slices are where `zero(value, axis)`.
      shrink: `(step, args, shrinking) → results`, with dead indices left out of all arrays.
    """

    links: Callable[[Step], Iterable[Link]] = no_links
    more: Callable[[Step, Program], Iterable[Relation]] = nothing
    zero: Callable[[Step, Zero, Program], list[list[np.ndarray]]] = never
    shrink: Callable[[Step, list, Shrinking], Any] = rebind


def same_axes(step: Step) -> Iterator[Link]:
    """Operands and results of one shape, but for scalars and axes of size 1 that are repeated."""
    for o, out in enumerate(step.outs):
        for i, x in enumerate(step.ins):
            for axis in range(len(out.shape)):
                if spans(x, out, axis):
                    yield Link(i, axis, o, axis)


def spans(x: Value, out: Value, axis: int) -> bool:
    """Whether an axis of an elementwise result is one of this operand, too."""
    return len(x.shape) == len(out.shape) and x.shape[axis] == out.shape[axis]


def zero_along(x: Value, out: Value, axis: int, zero: Zero) -> np.ndarray:
    """Where an operand is zero along an axis of an elementwise result; nowhere if it has none."""
    return zero(x, axis) if spans(x, out, axis) else np.zeros(out.shape[axis], bool)


def is_zero(value: Value, program: Program) -> bool:
    """Whether a value is known to be all zero."""
    known = program.known.get(value.id)
    return known is not None and not np.any(known)


def linked_zero(combine: Callable[[list[np.ndarray]], np.ndarray], links: Callable) -> Callable:
    """A rule's `zero` where each index of a result is made of the linked ones of the operands.

    Args:
      combine: `np.all`-like or `np.any`-like over operands. An operand without a link to an axis
        is zero there only if it is zero everywhere.
      links: As a rule has them.
    """

    def zero_fn(step: Step, zero: Zero, program: Program) -> list[list[np.ndarray]]:
        found = list(links(step))
        results = []
        for o, out in enumerate(step.outs):
            axes = []
            for axis, n in enumerate(out.shape):
                columns = [np.full(n, is_zero(x, program)) for x in step.ins]
                for link in found:
                    if (link.out, link.out_axis) == (o, axis):
                        at = slice(None) if link.at is None else link.at
                        to = slice(None) if link.to is None else link.to
                        columns[link.source][to] = zero(step.ins[link.source], link.axis)[at]
                axes.append(combine(columns))
            results.append(axes)
        return results

    return zero_fn


def every(columns: list[np.ndarray]) -> np.ndarray:
    """Zero where all the operands are."""
    return np.all(columns, axis=0)


def some(columns: list[np.ndarray]) -> np.ndarray:
    """Zero where one of the operands is."""
    return np.any(columns, axis=0)
