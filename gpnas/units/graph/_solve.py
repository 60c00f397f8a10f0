"""Solves the relations between nodes for the units of a traced function.

Nodes that are equal form a class. A class may be the product of others (where a reshape merges
axes); it is removed if any of its factors is. All classes start free. Inputs, outputs and nodes
that no rule mentions are fixed, and fixedness propagates until nothing changes. Units are sets of
classes that stay free.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from gpnas.units.graph._rule import Cut, Fixed, Free, Link, Made, Product, Relation, Same, Sum
from gpnas.units.graph._rules import RULES, rule_of
from gpnas.units.graph._trace import Graph, Op, Trace, Value, all_graphs, all_ops
from gpnas.units.graph._zeros import zero_slices

SINGLE = "a single index"
UNUSED = "not used by the function"
UNMADE = "no layer computes it"
# Primitives that are singular where the operand with this index is zero.
SINGULAR = {"div": 1, "rem": 1, "rsqrt": 0, "log": 0, "digamma": 0, "lgamma": 0}


class Relations(NamedTuple):
    """All relations of a graph."""

    same: list[Same]
    products: list[Product]
    sums: list[tuple[Sum, str]]
    fixed: list[Fixed]
    made: np.ndarray


class Solution(NamedTuple):
    """The units of a traced function.

    Attributes:
      classes: (nodes,) int, the class of each node.
      units: For each unit, the classes that are removed with it.
      reasons: Why a class is fixed, by class.
      relations: The relations of the graph.
      zero: (nodes,) bool, whether the slice at a node is zero whenever the node is removed.
    """

    classes: np.ndarray
    units: tuple[frozenset[int], ...]
    reasons: dict[int, str]
    relations: Relations
    zero: np.ndarray


def collect_relations(trace: Trace) -> Relations:
    """Collects the relations of every primitive; nodes that its rule does not mention are fixed."""
    same = [
        Same(out.all_nodes(), trace.updates[out.id].all_nodes())
        for out in trace.graph.outs
        if out.id in trace.updates
    ]
    products: list[Product] = []
    sums: list[tuple[Sum, str]] = []
    fixed = list(_ends(trace))
    made: list[Made] = []
    for graph in all_graphs(trace.graph):
        for op in graph.ops:
            found: dict[type, list] = defaultdict(list)
            for r in (*_linked(op, rule_of(op).links(op)), *rule_of(op).relations(op, graph)):
                found[type(r)].append(r)
            same += found[Same]
            products += found[Product]
            sums += [(r, _place(op)) for r in found[Sum]]
            fixed += [*found[Fixed], _unmentioned(op, found)]
            made += found[Made]
    return Relations(same, products, sums, fixed, _join(r.nodes for r in made))


def _ends(trace: Trace) -> Iterator[Fixed]:
    graph, leaves = trace.graph, len(trace.paths)
    outs = [value for value in graph.outs if value.id not in trace.updates]
    yield from (Fixed(value.all_nodes(), "an output of the function") for value in outs)
    yield from (
        Fixed(value.all_nodes(), "an input of the function") for value in graph.ins[leaves:]
    )
    used = {x.id for op in all_ops(graph) for x in op.ins}
    used |= {x.id for x in graph.outs}
    for leaf in graph.ins[:leaves]:
        if leaf.id not in used:
            yield Fixed(leaf.all_nodes(), UNUSED)
    single = [
        value.nodes(axis)
        for value in _values(graph)
        for axis, n in enumerate(value.shape)
        if n == 1
    ]
    yield Fixed(_join(single), SINGLE)


def _values(graph: Graph) -> Iterator[Value]:
    yield from graph.ins
    for op in all_ops(graph):
        yield from (*op.ins, *op.outs)
        for body in op.bodies:
            yield from (*body.ins, *body.outs)
        if op.factors is not None:
            yield op.factors


def _linked(op: Op, links: Iterable[Link]) -> Iterator[Relation]:
    for link in links:
        a = op.ins[link.source].nodes(link.axis)
        b = op.outs[link.out].nodes(link.out_axis)
        yield Same(a if link.at is None else a[link.at], b if link.to is None else b[link.to])


def _unmentioned(op: Op, found: Mapping[type, list]) -> Fixed:
    """Fixes nodes of operands and results that no relation mentions; `found` is by kind."""
    mentioned = [r.nodes for kind in (Free, Sum, Made) for r in found[kind]]
    mentioned += [nodes for r in found[Same] for nodes in r]
    mentioned += [r.whole for r in found[Product]]
    touched = _join([value.all_nodes() for value in (*op.ins, *op.outs)])
    why = "works across this axis" if op.name in RULES else "is not followed"
    return Fixed(np.setdiff1d(touched, _join(mentioned)), f"{_place(op)} {why}")


def _place(op: Op) -> str:
    return f"`{op.name}`" + (f" in {op.scope}" if op.scope else "")


def components(size: int, a: np.ndarray, b: np.ndarray) -> tuple[int, np.ndarray]:
    """Returns (number, (size,) component of each node) of the connected components of edges a-b."""
    edges = coo_array((np.ones(len(a), bool), (a, b)), shape=(size, size))
    return connected_components(edges, directed=False)


def _join(arrays: Iterable[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.zeros(0, np.int64), *arrays])


def solve(trace: Trace) -> Solution:
    """Finds the smallest units that satisfy all relations."""
    found = collect_relations(trace)
    a = _join(r.a for r in found.same)
    b = _join(r.b for r in found.same)
    fixed = list(found.fixed)
    while True:
        classes, reasons, products = _spread_fixed(trace.size, a, b, fixed, found.products)
        frozen = np.isin(classes, np.fromiter(reasons, int, len(reasons)))
        zero = zero_slices(trace, frozen)
        more = [*_not_zero(found.sums, zero, frozen), *_infinite(trace.graph, zero & ~frozen)]
        if not more:
            axes = {tuple(classes[leaf.nodes(a)].tolist()) for leaf, a in _leaf_axes(trace)}
            units, bad = _closures(classes, frozen, products, axes)
            more = list(_of_classes(classes, bad, "reshapes split these units"))
        if not more:
            made = np.zeros(int(classes.max()) + 1, bool)
            made[classes[found.made]] = True
            unmade = {c for unit in units if not any(made[c] for c in unit) for c in unit}
            kept = {c for unit in units if any(made[c] for c in unit) for c in unit}
            more = list(_of_classes(classes, unmade - kept, UNMADE))
        if not more:
            return Solution(classes, tuple(units), reasons, found, zero)
        fixed += more


def _leaf_axes(trace: Trace) -> Iterator[tuple[Value, int]]:
    for leaf in trace.graph.ins[: len(trace.paths)]:
        yield from ((leaf, axis) for axis in range(len(leaf.shape)))


def _not_zero(sums: list[tuple[Sum, str]], zero: np.ndarray, frozen: np.ndarray) -> Iterator[Fixed]:
    for each, place in sums:
        shown = frozen[each.nodes].copy()
        for nodes in each.zeros:
            shown |= zero[nodes]
        if not shown.all():
            why = f"{place} sums over it, and removed entries would not count as zero"
            yield Fixed(each.nodes[~shown], why)


def _infinite(graph: Graph, zero: np.ndarray) -> Iterator[Fixed]:
    """Yields nodes that would be zero where the primitive is singular: y in x / y."""
    for op in all_ops(graph):
        negative = op.name == "integer_pow" and op.params["y"] < 0
        if op.name in SINGULAR or negative or op.name == "pow":
            nodes = op.ins[SINGULAR.get(op.name, 0)].all_nodes()
            if zero[nodes].any():
                why = f"{_place(op)} would get zero from removed entries"
                yield Fixed(nodes[zero[nodes]], why)


def _of_classes(classes: np.ndarray, wanted: Iterable[int], reason: str) -> Iterator[Fixed]:
    nodes = np.flatnonzero(np.isin(classes, np.fromiter(wanted, int)))
    if len(nodes):
        yield Fixed(nodes, reason)


Products = dict[int, set[tuple[int, ...]]]


def _spread_fixed(
    size: int, a: np.ndarray, b: np.ndarray, fixed: list[Fixed], products: list[Product]
) -> tuple[np.ndarray, dict[int, str], Products]:
    """Returns (classes, reasons of fixed ones, products of two or more free classes)."""
    width = max((len(p.factors) for p in products), default=1)
    whole = _join(p.whole for p in products)
    parts = np.full((len(whole), width), -1)
    at = 0
    for p in products:
        for f, nodes in enumerate(p.factors):
            parts[at : at + len(nodes), f] = nodes
        at += len(p.whole)
    while True:
        count, classes = components(size, a, b)
        why = np.full(count, -1)
        for i, each in reversed(list(enumerate(fixed))):
            why[classes[each.nodes]] = i
        head, factor = classes[whole], np.where(parts < 0, -1, classes[parts])
        alike = list(_alike(classes, products))
        if alike:
            a, b = _join([a, *(r.a for r in alike)]), _join([b, *(r.b for r in alike)])
            continue
        _spread_over_products(why, head, factor)
        free = (factor >= 0) & (why[factor] < 0)
        single = (why[head] < 0) & (free.sum(1) == 1)
        only = parts[single][free[single]]
        new = classes[whole[single]] != classes[only]
        if not new.any():
            break
        a, b = np.concatenate([a, whole[single][new]]), np.concatenate([b, only[new]])
    reasons = {int(c): fixed[why[c]].reason for c in np.flatnonzero(why >= 0)}
    left: Products = defaultdict(set)
    real = (why[head] < 0) & (free.sum(1) > 1)
    for c, row, ok in zip(head[real], factor[real], free[real], strict=True):
        left[int(c)].add(tuple(int(x) for x in row[ok]))
    return classes, reasons, left


def _alike(classes: np.ndarray, products: list[Product]) -> Iterator[Same]:
    """Equates the factors of equal products if they have the same sizes.

    If two arrays are reshaped from (2, 3) to (6,) and added, their rows are equal, and their
    columns.
    """
    seen: dict[tuple, Product] = {}
    for product in products:
        sizes = tuple(len(np.unique(nodes)) for nodes in product.factors)
        first = seen.setdefault((sizes, classes[product.whole].tobytes()), product)
        for a, b in zip(first.factors, product.factors, strict=True):
            if np.any(classes[a] != classes[b]):
                yield Same(a, b)


def _spread_over_products(why: np.ndarray, head: np.ndarray, factor: np.ndarray) -> None:
    """Fixes factors of fixed products, and products of fixed factors only (in place)."""
    real = factor >= 0
    while True:
        before = int((why >= 0).sum())
        rows, columns = np.nonzero(real & (why[head] >= 0)[:, None] & (why[factor] < 0))
        why[factor[rows, columns]] = why[head[rows]]
        done = (why[head] < 0) & np.all(~real | (why[factor] >= 0), axis=1)
        why[head[done]] = why[factor[done, 0]]
        if int((why >= 0).sum()) == before:
            return


def _closures(
    classes: np.ndarray, frozen: np.ndarray, products: Products, axes: Iterable[tuple[int, ...]]
) -> tuple[list[frozenset[int]], set[int]]:
    """Returns units as sets of classes, and classes that cannot be removed.

    A class and all that are removed with it are a unit: a filter and, after its 7 × 7 positions are
    flattened, 49 inputs of the next layer. A class cannot be removed if a fixed one, or with others
    a whole axis of a leaf, would be removed with it.
    """
    of_factor: dict[int, set[int]] = defaultdict(set)
    for head, ways in products.items():
        for way in ways:
            for factor in way:
                of_factor[factor].add(head)
    free = set(np.unique(classes[~frozen]).tolist())
    units: dict[frozenset[int], None] = {}
    bad: set[int] = set()
    whole = {frozenset(axis) for axis in axes if free.issuperset(axis)}
    for start in sorted(free - set(products)):
        unit = _closure(start, products, of_factor)
        if not unit <= free or len(unit) > 1 and any(axis <= unit for axis in whole):
            bad.add(start)
        else:
            units[unit] = None
    return list(units), bad


def _closure(start: int, products: Products, of_factor: dict[int, set[int]]) -> Any:
    """Returns the classes that are removed with a given one.

    If one of several factors must be removed, the one with the most products already removed is
    chosen.
    """
    removed, queue = {start}, [start]

    def nearest(way: tuple[int, ...]) -> int:
        return max(way, key=lambda c: (len(of_factor[c] & removed) / len(of_factor[c]), -c))

    while queue:
        while queue:
            for head in of_factor.get(queue.pop(), ()):
                if head not in removed:
                    removed.add(head)
                    queue.append(head)
        open_ways = (w for h in removed & products.keys() for w in products[h])
        way = next((w for w in open_ways if removed.isdisjoint(w)), None)
        if way is not None:
            queue.append(nearest(way))
            removed.add(queue[0])
    return frozenset(removed)


def cuts(solution: Solution, removed_units: Iterable[int]) -> Cut:
    """Makes a function that returns the kept indices along an axis if some units are removed."""
    inactive = np.zeros(int(solution.classes.max(initial=0)) + 1, bool)
    for unit in removed_units:
        inactive[list(solution.units[unit])] = True
    removed = inactive[solution.classes]

    def cut(value: Value, axis: int) -> np.ndarray | None:
        at = removed[value.nodes(axis)]
        return np.flatnonzero(~at) if at.any() else None

    return cut
