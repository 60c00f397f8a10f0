"""From a traced function to the units of its variables: relations between nodes, solved.

Nodes that are the same form a class. A class may be the product of others (a reshape merged their
axes), and dies where one of them does. Everything starts free; inputs, outputs and whatever no rule
speaks of are fixed, and what is fixed spreads until nothing changes. What stays free is a unit.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from gpnas.units.graph._rule import Fixed, Free, Link, Made, Product, Relation, Same, Sum
from gpnas.units.graph._rules import RULES, rule_of
from gpnas.units.graph._trace import Program, Step, Trace, Value, all_programs, all_steps
from gpnas.units.graph._zeros import zeros

SINGLE = "a single index"
UNUSED = "not used by the function"
UNMADE = "no layer computes it"
# Where zero in an operand, by its number, makes something infinite.
SINGULAR = {"div": 1, "rem": 1, "rsqrt": 0, "log": 0, "digamma": 0, "lgamma": 0}


class Relations(NamedTuple):
    """All that the program says, as arrays of nodes."""

    same: list[Same]
    products: list[Product]
    sums: list[tuple[Sum, str]]
    fixed: list[Fixed]
    made: np.ndarray


class Solution(NamedTuple):
    """What lives and dies together.

    Attributes:
      classes: (nodes,) int, the class of each node.
      units: For each unit, the classes that die with it.
      reasons: Why a class is fixed, by class.
      relations: What the program says.
      zero: (nodes,) bool, whether the slice at a node is zero whenever the node is dead.
    """

    classes: np.ndarray
    units: tuple[frozenset[int], ...]
    reasons: dict[int, str]
    relations: Relations
    zero: np.ndarray


def relations(trace: Trace) -> Relations:
    """Asks the rule of every step, and fixes whatever the rule does not speak of."""
    same = [
        Same(_all(out), _all(trace.updates[out.id]))
        for out in trace.program.outs
        if out.id in trace.updates
    ]
    products: list[Product] = []
    sums: list[tuple[Sum, str]] = []
    fixed = list(_ends(trace))
    made: list[np.ndarray] = []
    for program in all_programs(trace.program):
        for step in program.steps:
            found = [*_linked(step, rule_of(step).links(step)), *rule_of(step).more(step, program)]
            same += [r for r in found if isinstance(r, Same)]
            products += [r for r in found if isinstance(r, Product)]
            sums += [(r, _place(step)) for r in found if isinstance(r, Sum)]
            fixed += [r for r in found if isinstance(r, Fixed)]
            made += [r.nodes for r in found if isinstance(r, Made)]
            fixed.append(_unspoken(step, found))
    return Relations(same, products, sums, fixed, _join(made))


def _ends(trace: Trace) -> Iterator[Fixed]:
    program, leaves = trace.program, len(trace.paths)
    outs = [value for value in program.outs if value.id not in trace.updates]
    yield from (Fixed(_all(value), "an output of the function") for value in outs)
    yield from (Fixed(_all(value), "an input of the function") for value in program.ins[leaves:])
    used = {x.id for step in all_steps(program) for x in step.ins}
    used |= {x.id for x in program.outs}
    for leaf in program.ins[:leaves]:
        if leaf.id not in used:
            yield Fixed(_all(leaf), UNUSED)
    single = [
        value.nodes(axis)
        for value in _values(program)
        for axis, n in enumerate(value.shape)
        if n == 1
    ]
    yield Fixed(_join(single), SINGLE)


def _values(program: Program) -> Iterator[Value]:
    yield from program.ins
    for step in all_steps(program):
        yield from (*step.ins, *step.outs)
        for body in step.bodies:
            yield from (*body.ins, *body.outs)
        if step.factors is not None:
            yield step.factors


def _linked(step: Step, links: Iterable[Link]) -> Iterator[Relation]:
    for link in links:
        a = step.ins[link.source].nodes(link.axis)
        b = step.outs[link.out].nodes(link.out_axis)
        yield Same(a if link.at is None else a[link.at], b if link.to is None else b[link.to])


def _unspoken(step: Step, found: list[Relation]) -> Fixed:
    """Nodes of operands and results that no relation mentions."""
    spoken = [r.nodes for r in found if isinstance(r, Free | Sum | Made)]
    spoken += [nodes for r in found if isinstance(r, Same) for nodes in r]
    spoken += [r.whole for r in found if isinstance(r, Product)]
    every = _join([_all(value) for value in (*step.ins, *step.outs)])
    why = "works across this axis" if step.name in RULES else "is not followed"
    return Fixed(np.setdiff1d(every, _join(spoken)), f"{_place(step)} {why}")


def _place(step: Step) -> str:
    return f"`{step.name}`" + (f" in {step.where}" if step.where else "")


def _all(value: Value) -> np.ndarray:
    return np.arange(value.first, value.first + sum(value.shape))


def _join(arrays: Iterable[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.zeros(0, np.int64), *arrays])


def solve(trace: Trace) -> Solution:
    """The finest units that all relations allow."""
    found = relations(trace)
    a = _join(r.a for r in found.same)
    b = _join(r.b for r in found.same)
    fixed = list(found.fixed)
    while True:
        classes, reasons, products = _spread_fixed(trace.size, a, b, fixed, found.products)
        frozen = np.isin(classes, np.fromiter(reasons, int, len(reasons)))
        zero = zeros(trace, frozen)
        more = [*_not_zero(found.sums, zero, frozen), *_infinite(trace.program, zero & ~frozen)]
        if not more:
            axes = {tuple(classes[leaf.nodes(a)].tolist()) for leaf, a in _leaf_axes(trace)}
            units, bad = _closures(classes, frozen, products, axes)
            more = list(_of_classes(classes, bad, "reshapes do not keep these units whole"))
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
    for leaf in trace.program.ins[: len(trace.paths)]:
        yield from ((leaf, axis) for axis in range(len(leaf.shape)))


def _not_zero(sums: list[tuple[Sum, str]], zero: np.ndarray, frozen: np.ndarray) -> Iterator[Fixed]:
    for each, place in sums:
        shown = frozen[each.nodes].copy()
        for nodes in each.zeros:
            shown |= zero[nodes]
        if not shown.all():
            why = f"{place} sums over it, where what is removed would not count as zero"
            yield Fixed(each.nodes[~shown], why)


def _infinite(program: Program, zero: np.ndarray) -> Iterator[Fixed]:
    """Nodes that are zero in an operand in which zero must not be."""
    for step in all_steps(program):
        negative = step.name == "integer_pow" and step.params["y"] < 0
        if step.name in SINGULAR or negative or step.name == "pow":
            nodes = _all(step.ins[SINGULAR.get(step.name, 0)])
            if zero[nodes].any():
                why = f"{_place(step)} would get zero from what is removed"
                yield Fixed(nodes[zero[nodes]], why)


def _of_classes(classes: np.ndarray, wanted: Iterable[int], reason: str) -> Iterator[Fixed]:
    nodes = np.flatnonzero(np.isin(classes, np.fromiter(wanted, int)))
    if len(nodes):
        yield Fixed(nodes, reason)


Products = dict[int, set[tuple[int, ...]]]


def _spread_fixed(
    size: int, a: np.ndarray, b: np.ndarray, fixed: list[Fixed], products: list[Product]
) -> tuple[np.ndarray, dict[int, str], Products]:
    """Classes, why some are fixed, and the products of two or more that are not."""
    width = max((len(p.factors) for p in products), default=1)
    whole = _join(p.whole for p in products)
    parts = np.full((len(whole), width), -1)
    at = 0
    for p in products:
        for f, nodes in enumerate(p.factors):
            parts[at : at + len(nodes), f] = nodes
        at += len(p.whole)
    while True:
        graph = coo_array((np.ones(len(a), bool), (a, b)), shape=(size, size))
        count, classes = connected_components(graph, directed=False)
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
        alone = (why[head] < 0) & (free.sum(1) == 1)
        only = parts[alone][free[alone]]
        new = classes[whole[alone]] != classes[only]
        if not new.any():
            break
        a, b = np.concatenate([a, whole[alone][new]]), np.concatenate([b, only[new]])
    reasons = {int(c): fixed[why[c]].reason for c in np.flatnonzero(why >= 0)}
    left: Products = defaultdict(set)
    real = (why[head] < 0) & (free.sum(1) > 1)
    for c, row, ok in zip(head[real], factor[real], free[real], strict=True):
        left[int(c)].add(tuple(int(x) for x in row[ok]))
    return classes, reasons, left


def _alike(classes: np.ndarray, products: list[Product]) -> Iterator[Same]:
    """Factors of two products that are the same and of the same sizes are the same."""
    seen: dict[tuple, Product] = {}
    for product in products:
        sizes = tuple(len(np.unique(nodes)) for nodes in product.factors)
        first = seen.setdefault((sizes, classes[product.whole].tobytes()), product)
        for a, b in zip(first.factors, product.factors, strict=True):
            if np.any(classes[a] != classes[b]):
                yield Same(a, b)


def _spread_over_products(why: np.ndarray, head: np.ndarray, factor: np.ndarray) -> None:
    """What is fixed fixes its factors, and what has fixed factors only is fixed (in place)."""
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
    """Units as sets of classes, and classes with which others or a whole axis would die."""
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
    """All that dies with a class; where factors leave a choice, that of which most is dead dies."""
    dead, queue = {start}, [start]

    def nearest(way: tuple[int, ...]) -> int:
        return max(way, key=lambda c: (len(of_factor[c] & dead) / len(of_factor[c]), -c))

    while queue:
        while queue:
            for head in of_factor.get(queue.pop(), ()):
                if head not in dead:
                    dead.add(head)
                    queue.append(head)
        open_ways = (w for h in dead & products.keys() for w in products[h])
        way = next((w for w in open_ways if dead.isdisjoint(w)), None)
        if way is not None:
            queue.append(nearest(way))
            dead.add(queue[0])
    return frozenset(dead)


Cut = Callable[[Value, int], np.ndarray | None]


def cuts(solution: Solution, dead_units: Iterable[int]) -> Cut:
    """What is left along each axis when some units are dead."""
    gone = np.zeros(int(solution.classes.max(initial=0)) + 1, bool)
    for unit in dead_units:
        gone[list(solution.units[unit])] = True
    dead = gone[solution.classes]

    def cut(value: Value, axis: int) -> np.ndarray | None:
        at = dead[value.nodes(axis)]
        return np.flatnonzero(~at) if at.any() else None

    return cut
