"""Roles of leaves in units, and whether an op sums over a unit's own activation.

A value computed only from variables and constants is a *weight*, any other an activation. A weight
*consumes* the units along the axes that a product or a convolution contracts.
"""

from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from gpnas.units.graph._bodies import passages
from gpnas.units.graph._rules import rule_of
from gpnas.units.graph._solve import Solution, components
from gpnas.units.graph._trace import CUSTOM, Graph, Op, Trace, Value

CONSUMES, PRODUCES, ADDS, SCALES, BOTH = "consumes", "produces", "adds", "scales", "both"
CONSUMING = frozenset((CONSUMES, BOTH))
LAYERS = frozenset(("dot_general", "conv_general_dilated", "gather"))
ADDITIONS = frozenset(("add", "sub", "add_any"))


class Roles(NamedTuple):
    """The roles of the leaves of a traced function.

    Attributes:
      kinds: Role of each leaf along axes where it does not consume units, by path: PRODUCES (a
        kernel), ADDS, or SCALES (also if it is unknown).
      over: Axes of a leaf that a layer contracts, by path.
      along: Axes of a leaf along which a layer produces activations, by path.
      summed: Op that sums over the activations of units themselves, by class of the solution.
    """

    kinds: dict[str, str]
    over: dict[str, tuple[int, ...]]
    along: dict[str, tuple[int, ...]]
    summed: dict[int, str]

    def of(self, path: str, axis: int) -> str:
        """Returns the role of a leaf for the units along one of its axes."""
        if axis in self.over[path]:
            return BOTH if axis in self.along[path] else CONSUMES
        return self.kinds[path]


class _Seen(NamedTuple):
    """State that `_walk` mutates: origins of weights, primitives that use them, nodes."""

    origin: dict[int, frozenset[str]]
    meets: dict[str, set[str]]
    weights: list[np.ndarray]
    summed: list[np.ndarray]
    made: list[np.ndarray]


def find_roles(traced: Trace, solution: Solution) -> Roles:
    """Finds the roles of the leaves of a traced function."""
    leaves = dict(zip(traced.paths, traced.graph.ins, strict=False))
    seen = _Seen({x.id: frozenset((p,)) for p, x in leaves.items()}, defaultdict(set), [], [], [])
    _walk(traced.graph, seen)
    seen.weights.extend(leaf.all_nodes() for leaf in leaves.values())
    inside = _marked(traced.size, seen.weights)
    consuming = _spread(_marked(traced.size, seen.summed), inside, solution)
    producing = _spread(_marked(traced.size, seen.made), inside, solution)
    kinds = {path: _kind(leaf, seen.meets[path]) for path, leaf in leaves.items()}
    over, along = (
        {p: _axes(x, marks) for p, x in leaves.items()} for marks in (consuming, producing)
    )
    return Roles(kinds, over, along, _summed(solution, consuming))


def _axes(leaf: Value, marks: np.ndarray) -> tuple[int, ...]:
    return tuple(axis for axis in range(len(leaf.shape)) if marks[leaf.nodes(axis)].any())


def _walk(graph: Graph, seen: _Seen) -> None:
    """Finds which values are weights, and which primitives combine them with activations."""
    seen.origin.update((id, frozenset()) for id in graph.constants)
    for op in graph.ops:
        weights = [x for x in op.ins if x.id in seen.origin]
        if op.bodies:
            inner = passages(op)
            for outside, inside in inner.entries:
                if outside.id in seen.origin and inside.id not in inner.carried():
                    seen.origin[inside.id] = seen.origin[outside.id]
                    seen.weights.append(inside.all_nodes())
            for body in op.bodies[:1] if op.name in CUSTOM else op.bodies:
                _walk(body, seen)
            continue
        found = frozenset[str]().union(*(seen.origin[x.id] for x in weights))
        if len(weights) < len(op.ins):
            for path in found:
                seen.meets[path].add(op.name)
            if op.name in LAYERS:
                seen.made.extend(_linked(op, seen))
        else:
            seen.origin.update((x.id, found) for x in op.outs)
            made = (*op.outs, *((op.factors,) if op.factors is not None else ()))
            seen.weights.extend(x.all_nodes() for x in made)
        axes = _contracted(op)
        if weights and axes:  # of two weights, the second one consumes
            consumer = max(i for i, x in enumerate(op.ins[: len(axes)]) if x.id in seen.origin)
            seen.summed.extend(op.ins[consumer].nodes(axis) for axis in axes[consumer])


def _contracted(op: Op) -> tuple[tuple[int, ...], tuple[int, ...]] | tuple[()]:
    """Returns the contracted axes of a layer's two operands, and the window of a kernel."""
    if op.name == "dot_general":
        return op.params["dimension_numbers"][0]
    if op.name == "conv_general_dilated":
        return (), tuple(op.params["dimension_numbers"].rhs_spec[1:])
    return ()


def _linked(op: Op, seen: _Seen) -> Iterator[np.ndarray]:
    """Yields the nodes of a layer's weights that are linked to its result."""
    for link in rule_of(op).links(op):
        if op.ins[link.source].id in seen.origin:
            nodes = op.ins[link.source].nodes(link.axis)
            yield nodes if link.at is None else nodes[link.at]


def _marked(size: int, nodes: list[np.ndarray]) -> np.ndarray:
    marks = np.zeros(size, bool)
    for each in nodes:
        marks[each] = True
    return marks


def _spread(consuming: np.ndarray, weights: np.ndarray, solution: Solution) -> np.ndarray:
    """Marks nodes of weights tied to a marked node, by equality or as factors; (nodes,) bool."""
    same = [(r.a, r.b) for r in solution.relations.same]
    same += [(p.whole, factor) for p in solution.relations.products for factor in p.factors]
    a, b = (np.concatenate([np.zeros(0, int), *side]) for side in zip(*same, strict=True))
    inside = weights[a] & weights[b]
    a, b = a[inside], b[inside]
    count, parts = components(len(weights), a, b)
    consumes = np.zeros(count, bool)
    consumes[parts[consuming]] = True
    return consumes[parts] & weights


def _kind(leaf: Value, meets: set[str]) -> str:
    if len(leaf.shape) > 1 and meets & LAYERS:
        return PRODUCES
    return ADDS if meets and meets <= ADDITIONS else SCALES


def _summed(solution: Solution, consuming: np.ndarray) -> dict[int, str]:
    """Returns classes summed over by an op without a consuming weight among its operands."""
    found: dict[int, str] = {}
    for each, place in solution.relations.sums:
        read = np.zeros(len(each.nodes), bool)
        for nodes in each.zeros:
            read |= consuming[nodes] & solution.zero[nodes]
        found.update((int(c), place) for c in solution.classes[each.nodes[~read]])
    return found
