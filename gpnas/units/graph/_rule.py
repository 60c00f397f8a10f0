"""Rules of primitives: which nodes must be removed together, and under which conditions."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax

from gpnas.units.graph._trace import Graph, Op, Value


class Link(NamedTuple):
    """Maps indices along an axis of an operand to those along an axis of a result.

    Attributes:
      source, axis: Number of the operand, and its axis.
      out, out_axis: Number of the result, and its axis.
      at, to: Paired indices along the two axes; None for all.
    """

    source: int
    axis: int
    out: int
    out_axis: int
    at: np.ndarray | None = None
    to: np.ndarray | None = None


class Same(NamedTuple):
    """Pairs of nodes, (n,) each, that must be removed together."""

    a: np.ndarray
    b: np.ndarray


class Product(NamedTuple):
    """Product nodes; each is removed if any of its factors' nodes is."""

    whole: np.ndarray
    factors: tuple[np.ndarray, ...]


class Sum(NamedTuple):
    """Indices that an operation sums over; removed ones must be zero in at least one operand.

    Attributes:
      nodes: (n,) nodes that become fixed unless this is proved.
      zeros: Nodes, (n,) each, of the operands one of which must be zero.
    """

    nodes: np.ndarray
    zeros: tuple[np.ndarray, ...]


class Fixed(NamedTuple):
    """Nodes that cannot be removed, and the reason."""

    nodes: np.ndarray
    reason: str


class Free(NamedTuple):
    """Nodes that the primitive does not constrain."""

    nodes: np.ndarray


class Made(NamedTuple):
    """Nodes computed by a layer: candidates for units."""

    nodes: np.ndarray


Relation = Same | Product | Sum | Fixed | Free | Made
Zero = Callable[[Value, int], np.ndarray]
Cut = Callable[[Value, int], np.ndarray | None]


class ShrinkContext(NamedTuple):
    """Arguments of a rule's `shrink`, which applies its primitive to smaller arrays.

    Attributes:
      cut: `(value, axis) → (n,) indices that are kept`, or None for all.
      graph: The graph that contains the primitive.
      run: `(body, args) → results`, evaluates a body on smaller arrays.
    """

    cut: Cut
    graph: Graph
    run: Callable[[Graph, list], list]

    def shape(self, value: Value) -> tuple[int, ...]:
        """Returns the shape of a value without removed indices."""
        cuts = (self.cut(value, axis) for axis in range(len(value.shape)))
        return tuple(
            n if left is None else len(left) for n, left in zip(value.shape, cuts, strict=True)
        )


def rebind(op: Op, args: list, to: ShrinkContext) -> Any:
    """Applies the primitive with unchanged parameters."""
    return op.bind(*args, **op.params)


def take(x: Any, index: np.ndarray, axis: int) -> Any:
    """Takes indices along an axis; uses a slice if they are consecutive."""
    if len(index) and np.array_equal(index, np.arange(index[0], index[0] + len(index))):
        return lax.slice_in_dim(x, int(index[0]), int(index[0]) + len(index), axis=axis)
    return jnp.take(x, np.asarray(index), axis=axis)


def take_kept(x: Any, value: Value, axis: int, wanted: np.ndarray, to: ShrinkContext) -> Any:
    """Takes indices `wanted` of the full axis from an array without removed indices."""
    left = to.cut(value, axis)
    return take(x, wanted if left is None else np.searchsorted(left, wanted), axis)


def kept_indices(value: Value, axis: int, to: ShrinkContext) -> np.ndarray:
    """Returns the kept indices along an axis."""
    left = to.cut(value, axis)
    return np.arange(value.shape[axis]) if left is None else left


def compute_then_cut(op: Op, args: list, to: ShrinkContext) -> Any:
    """Computes the full result, then takes the kept indices; for primitives that create arrays."""
    out = op.bind(*args, **op.params)
    for axis in range(len(op.outs[0].shape)):
        left = to.cut(op.outs[0], axis)
        out = out if left is None else take(out, left, axis)
    return out


def never_zero(op: Op, zero: Zero, graph: Graph) -> list[list[np.ndarray]]:
    """Reports that no slice is known to be zero."""
    return [[np.zeros(n, bool) for n in out.shape] for out in op.outs]


class Rule(NamedTuple):
    """The rule of a primitive.

    A node that no link or relation mentions is fixed. So an incomplete rule makes fewer units
    removable, but no removal incorrect.

    Attributes:
      links: `op → links`.
      relations: `(op, graph) → relations`.
      zero: `(op, zero, graph) → (n,) bool for each axis of each result`: whether the slice at an
        index is exactly zero, given that operands are zero where `zero(value, axis)`.
      shrink: `(op, args, context) → results`, of arrays without removed indices.
    """

    links: Callable[[Op], Iterable[Link]] = lambda op: ()
    relations: Callable[[Op, Graph], Iterable[Relation]] = lambda op, graph: ()
    zero: Callable[[Op, Zero, Graph], list[list[np.ndarray]]] = never_zero
    shrink: Callable[[Op, list, ShrinkContext], Any] = rebind


def same_axes(op: Op) -> Iterator[Link]:
    """Yields the links of elementwise primitives; scalars and axes of size 1 are broadcast."""
    for o, out in enumerate(op.outs):
        for i, x in enumerate(op.ins):
            for axis in range(len(out.shape)):
                if spans(x, out, axis):
                    yield Link(i, axis, o, axis)


def spans(x: Value, out: Value, axis: int) -> bool:
    """Returns whether an operand has an axis of an elementwise result."""
    return len(x.shape) == len(out.shape) and x.shape[axis] == out.shape[axis]


def zero_along(x: Value, out: Value, axis: int, zero: Zero) -> np.ndarray:
    """Returns where an operand is zero along an axis of a result; False if it lacks the axis."""
    return zero(x, axis) if spans(x, out, axis) else np.zeros(out.shape[axis], bool)


def is_zero(value: Value, graph: Graph) -> bool:
    """Returns whether a value is known to be all zero."""
    known = graph.known.get(value.id)
    return known is not None and not np.any(known)


def linked_zero(combine: Callable[[list[np.ndarray]], np.ndarray], links: Callable) -> Callable:
    """Makes a rule's `zero` for results computed index by index along linked axes.

    Args:
      combine: `all_zero` or `any_zero` over operands. An operand without a link to an axis counts
        as zero there only if it is zero everywhere.
      links: The links of the rule.
    """

    def zero_fn(op: Op, zero: Zero, graph: Graph) -> list[list[np.ndarray]]:
        found = list(links(op))
        results = []
        for o, out in enumerate(op.outs):
            axes = []
            for axis, n in enumerate(out.shape):
                columns = [np.full(n, is_zero(x, graph)) for x in op.ins]
                for link in found:
                    if (link.out, link.out_axis) == (o, axis):
                        at = slice(None) if link.at is None else link.at
                        to = slice(None) if link.to is None else link.to
                        columns[link.source][to] = zero(op.ins[link.source], link.axis)[at]
                axes.append(combine(columns))
            results.append(axes)
        return results

    return zero_fn


def linked(
    links: Callable[[Op], Iterable[Link]],
    combine: Callable[[list[np.ndarray]], np.ndarray] | None = None,
    **others: Any,
) -> Rule:
    """Makes a rule whose zeros follow from its links, combined over operands by `combine`."""
    return Rule(links, zero=linked_zero(combine or all_zero, links), **others)


def all_zero(columns: list[np.ndarray]) -> np.ndarray:
    """Zero where all operands are zero."""
    return np.all(columns, axis=0)


def any_zero(columns: list[np.ndarray]) -> np.ndarray:
    """Zero where any operand is zero."""
    return np.any(columns, axis=0)
