"""Roles: what each leaf does for a unit, and whether something sums over its activation.

A value that is made of variables and constants alone is a *weight*, any other an activation. The
axes of a weight that a product or a convolution sums over *read* the units that lie along them.
"""

from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from gpnas.units.graph._rules import rule_of
from gpnas.units.graph._rules_control import scan_counts, while_parts
from gpnas.units.graph._solve import Solution
from gpnas.units.graph._trace import CUSTOM, Program, Step, Trace, Value

READS, MAKES, ADDS, SCALES, BOTH = "reads", "makes", "adds", "scales", "both"
READERS = frozenset((READS, BOTH))
LAYERS = frozenset(("dot_general", "conv_general_dilated", "gather"))
ADDITIONS = frozenset(("add", "sub", "add_any"))


class Roles(NamedTuple):
    """What the leaves of a traced function are for.

    Attributes:
      kinds: What a leaf does where it does not read, by path: it makes activations, as a kernel
        does, is added to them, or scales them (as does whatever is not known).
      over: Axes of a leaf that a layer sums over, by path.
      along: Axes along which a layer makes activations, by path.
      summed: Where activations of units are themselves summed over, by class of the solution.
    """

    kinds: dict[str, str]
    over: dict[str, tuple[int, ...]]
    along: dict[str, tuple[int, ...]]
    summed: dict[int, str]

    def of(self, path: str, axis: int) -> str:
        """What a leaf does for the units along one of its axes."""
        if axis in self.over[path]:
            return BOTH if axis in self.along[path] else READS
        return self.kinds[path]


class _Seen(NamedTuple):
    """What a walk notes (in place): leaves a weight is made of, primitives they meet, nodes."""

    origin: dict[int, frozenset[str]]
    meets: dict[str, set[str]]
    weights: list[np.ndarray]
    summed: list[np.ndarray]
    made: list[np.ndarray]


def roles(traced: Trace, solution: Solution) -> Roles:
    """Finds what the leaves of a traced function do for its units."""
    leaves = dict(zip(traced.paths, traced.program.ins, strict=False))
    seen = _Seen({x.id: frozenset((p,)) for p, x in leaves.items()}, defaultdict(set), [], [], [])
    _walk(traced.program, seen)
    seen.weights.extend(_nodes(leaf) for leaf in leaves.values())
    inside = _marked(traced.size, seen.weights)
    reading = _spread(_marked(traced.size, seen.summed), inside, solution)
    making = _spread(_marked(traced.size, seen.made), inside, solution)
    kinds = {path: _kind(leaf, seen.meets[path]) for path, leaf in leaves.items()}
    over, along = ({p: _axes(x, marks) for p, x in leaves.items()} for marks in (reading, making))
    return Roles(kinds, over, along, _summed(solution, reading))


def _axes(leaf: Value, marks: np.ndarray) -> tuple[int, ...]:
    return tuple(axis for axis in range(len(leaf.shape)) if marks[leaf.nodes(axis)].any())


def _walk(program: Program, seen: _Seen) -> None:
    """Notes which values are weights, and what they meet."""
    seen.origin.update((id, frozenset()) for id in program.constants)
    for step in program.steps:
        weights = [x for x in step.ins if x.id in seen.origin]
        if step.bodies:
            for outside, inside in _passed_in(step):
                if outside.id in seen.origin:
                    seen.origin[inside.id] = seen.origin[outside.id]
                    seen.weights.append(_nodes(inside))
            for body in step.bodies[:1] if step.name in CUSTOM else step.bodies:
                _walk(body, seen)
            continue
        found = frozenset[str]().union(*(seen.origin[x.id] for x in weights))
        if len(weights) < len(step.ins):
            for path in found:
                seen.meets[path].add(step.name)
            if step.name in LAYERS:
                seen.made.extend(_linked(step, seen))
        else:
            seen.origin.update((x.id, found) for x in step.outs)
            made = (*step.outs, *((step.factors,) if step.factors is not None else ()))
            seen.weights.extend(_nodes(x) for x in made)
        axes = _contracted(step)
        if weights and axes:  # of two weights, the second one reads
            reader = max(i for i, x in enumerate(step.ins[: len(axes)]) if x.id in seen.origin)
            seen.summed.extend(step.ins[reader].nodes(axis) for axis in axes[reader])


def _passed_in(step: Step) -> list[tuple[Value, Value]]:
    """Operands of a loop or a branch and what they are inside, but for what a loop changes."""
    if step.name == "scan":
        consts, carry = scan_counts(step)
        pairs = list(zip(step.ins, step.bodies[0].ins, strict=True))
        return pairs[:consts] + pairs[consts + carry :]
    if step.name == "while":
        of_condition, of_body, _ = while_parts(step, step.ins)
        condition, body = step.bodies
        inside = [*condition.ins[: len(of_condition)], *body.ins[: len(of_body)]]
        return list(zip([*of_condition, *of_body], inside, strict=True))
    if step.name in CUSTOM:
        return list(zip(step.ins, step.bodies[0].ins, strict=True))
    return [pair for body in step.bodies for pair in zip(step.ins[1:], body.ins, strict=True)]


def _contracted(step: Step) -> tuple[tuple[int, ...], tuple[int, ...]] | tuple[()]:
    """Axes of a layer's two operands that it sums over, and the window of a kernel."""
    if step.name == "dot_general":
        return step.params["dimension_numbers"][0]
    if step.name == "conv_general_dilated":
        return (), tuple(step.params["dimension_numbers"].rhs_spec[1:])
    return ()


def _linked(step: Step, seen: _Seen) -> Iterator[np.ndarray]:
    """Nodes of a layer's kernel that are those of its result."""
    for link in rule_of(step).links(step):
        if step.ins[link.source].id in seen.origin:
            nodes = step.ins[link.source].nodes(link.axis)
            yield nodes if link.at is None else nodes[link.at]


def _nodes(value: Value) -> np.ndarray:
    return np.arange(value.first, value.first + sum(value.shape))


def _marked(size: int, nodes: list[np.ndarray]) -> np.ndarray:
    marks = np.zeros(size, bool)
    for each in nodes:
        marks[each] = True
    return marks


def _spread(reading: np.ndarray, weights: np.ndarray, solution: Solution) -> np.ndarray:
    """Nodes of weights that are the same as a node that reads, or make it up."""
    same = [(r.a, r.b) for r in solution.relations.same]
    same += [(p.whole, factor) for p in solution.relations.products for factor in p.factors]
    a, b = (np.concatenate([np.zeros(0, int), *side]) for side in zip(*same, strict=True))
    inside = weights[a] & weights[b]
    a, b = a[inside], b[inside]
    graph = coo_array((np.ones(len(a), bool), (a, b)), shape=(len(weights),) * 2)
    count, parts = connected_components(graph, directed=False)
    reads = np.zeros(count, bool)
    reads[parts[reading]] = True
    return reads[parts] & weights


def _kind(leaf: Value, meets: set[str]) -> str:
    if len(leaf.shape) > 1 and meets & LAYERS:
        return MAKES
    return ADDS if meets and meets <= ADDITIONS else SCALES


def _summed(solution: Solution, reading: np.ndarray) -> dict[int, str]:
    """Classes that a sum is taken over in which no weight that is zero with them takes part."""
    found: dict[int, str] = {}
    for each, place in solution.relations.sums:
        read = np.zeros(len(each.nodes), bool)
        for nodes in each.zeros:
            read |= reading[nodes] & solution.zero[nodes]
        found.update((int(c), place) for c in solution.classes[each.nodes[~read]])
    return found
