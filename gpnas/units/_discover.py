"""Discovery of units: indices along axes of the variables that must be removed together."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from gpnas.masks import tree
from gpnas.units._groups import Member, Refusal, UnitGroup, UnitGroups
from gpnas.units.graph import (
    Graph,
    Roles,
    Solution,
    Trace,
    Value,
    find_roles,
    passages,
    solve,
    trace,
)

# Primitives after which a value still counts as the leaf.
ONLY_MOVED = frozenset(
    ("convert_element_type", "transpose", "reshape", "broadcast_in_dim", "squeeze", "copy")
)


def discover(apply_fn: Callable[..., Any], variables: Any, *inputs: Any) -> UnitGroups:
    """Finds the units of a JAX function: what can be removed from its variables together.

    A unit is a set of indices along axes of leaves: the column of a kernel, its bias, its norm
    scale and statistics, and the rows of all kernels that consume it. Removing a unit means that
    every sum over it omits it, and nothing else changes. `compact` does so. The result equals the
    function with all entries of the unit in `variables` set to zero (`weight_masks`).

    Indices for which this cannot be proved are refused with a reason: inputs and outputs, axes that
    an op works across (softmax, variance, sort), operands of unknown primitives.

    Args:
      apply_fn: `(variables, *inputs) → arrays`; anything that `jax.make_jaxpr` can trace.
      variables: A pytree of arrays or shapes.
      *inputs: Arrays or shapes; the batch size does not matter.

    Returns:
      Groups and refusals.
    """
    traced = trace(apply_fn, variables, *inputs)
    return group_units(traced, solve(traced))[0]


def group_units(traced: Trace, solution: Solution) -> tuple[UnitGroups, dict[str, list[int]]]:
    """Returns groups of units of one kind, and `{group: numbers of its units in the solution}`."""
    leaves = dict(zip(traced.paths, traced.graph.ins, strict=False))
    owners: dict[int, list[int]] = defaultdict(list)
    for number, classes in enumerate(solution.units):
        for c in classes:
            owners[c].append(number)
    pairs = {
        (path, axis): _pairs(solution.classes[leaf.nodes(axis)], owners)
        for path, leaf in leaves.items()
        for axis in range(len(leaf.shape))
    }
    order, does = _first_use(traced), find_roles(traced, solution)
    found, numbers_of = [], {}
    for keys, numbers in _kinds(pairs):
        path, axis = min(keys, key=lambda k: _naming(k, leaves[k[0]], order))
        name = f"{path}:{axis}"
        while name in numbers_of:
            name += "'"
        numbers_of[name] = _by_place(numbers, *pairs[path, axis])
        members = tuple(_member(key, numbers_of[name], pairs[key], does) for key in keys)
        classes = frozenset[int]().union(*(solution.units[number] for number in numbers))
        places = sorted({does.summed[c] for c in classes if c in does.summed})
        found.append(UnitGroup(name, len(numbers), members, ", ".join(places)))
    found.sort(key=lambda g: (order.get(g.name.rpartition(":")[0], 0), g.name))
    return UnitGroups(tuple(found), tuple(_refusals(leaves, solution))), numbers_of


Key = tuple[str, int]
Pairs = tuple[np.ndarray, np.ndarray]


def _kinds(pairs: dict[Key, Pairs]) -> Iterator[tuple[list[Key], list[int]]]:
    """Yields (axes of leaves, units that own the same number of indices along each of them)."""
    counted: dict[int, list[tuple[Key, int]]] = defaultdict(list)
    for key, (unit, _) in pairs.items():
        for number, count in zip(*np.unique(unit, return_counts=True), strict=True):
            counted[int(number)].append((key, int(count)))
    alike: dict[tuple[tuple[Key, int], ...], list[int]] = defaultdict(list)
    for number in sorted(counted):
        alike[tuple(counted[number])].append(number)
    for kind, numbers in alike.items():
        yield [key for key, _ in kind], numbers


def _by_place(numbers: list[int], unit: np.ndarray, at: np.ndarray) -> list[int]:
    """Sorts units lexicographically by their indices along an axis."""
    places: dict[int, list[int]] = defaultdict(list)
    for number, place in zip(unit.tolist(), at.tolist(), strict=True):
        places[number].append(place)
    return sorted(numbers, key=lambda number: places[number])


def _naming(key: Key, leaf: Value, order: dict[str, int]) -> tuple:
    """Sort key for naming a group: kernels before biases, first use, last axis."""
    path, axis = key
    return len(leaf.shape) < 2, order.get(path, len(order)), -axis


def _pairs(classes: np.ndarray, owners: dict[int, list[int]]) -> Pairs:
    """Returns (unit, index) of all indices along an axis that are owned by a unit."""
    both = [(u, i) for i, c in enumerate(classes.tolist()) for u in owners.get(c, ())]
    array = np.array(both, int).reshape(-1, 2)
    return array[:, 0], array[:, 1]


def _member(key: Key, numbers: list[int], pairs: Pairs, does: Roles) -> Member:
    own = {number: i for i, number in enumerate(numbers)}
    keep = [(own[u], i) for u, i in zip(*(p.tolist() for p in pairs), strict=True) if u in own]
    array = np.array(keep, int).reshape(-1, 2)
    return Member(*key, array[:, 0], array[:, 1], does.of(*key), does.over[key[0]])


def _first_use(traced: Trace) -> dict[str, int]:
    """Returns the order in which leaves are first used; producers come before consumers."""
    origin = {x.id: path for x, path in zip(traced.graph.ins, traced.paths, strict=False)}
    order: dict[str, int] = {}

    def walk(graph: Graph) -> None:
        for op in graph.ops:
            if op.name in ONLY_MOVED and op.ins[0].id in origin:
                origin[op.outs[0].id] = origin[op.ins[0].id]
                continue
            for outside, inside in passages(op).entries if op.bodies else ():
                if outside.id in origin:
                    origin[inside.id] = origin[outside.id]
            for body in op.bodies:
                walk(body)
            for x in op.ins:
                if x.id in origin:
                    order.setdefault(origin[x.id], len(order))

    walk(traced.graph)
    return order


def _refusals(leaves: dict[str, Value], solution: Solution) -> Iterator[Refusal]:
    for path in sorted(leaves, key=tree.natural_order):
        for axis, n in enumerate(leaves[path].shape):
            classes = solution.classes[leaves[path].nodes(axis)].tolist()
            reasons = Counter(solution.reasons[c] for c in classes if c in solution.reasons)
            if reasons and n > 1:
                yield Refusal(path, axis, reasons.total(), reasons.most_common(1)[0][0])
