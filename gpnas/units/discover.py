"""Discovery: which axes of a function's variables live and die together."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from gpnas.masks import tree
from gpnas.units.follow import Solution, solve
from gpnas.units.group import Member, Refusal, UnitGroup, UnitGroups
from gpnas.units.trace import Program, Trace, Value, trace

# Steps after which a leaf is still that leaf.
ONLY_MOVED = frozenset(
    ("convert_element_type", "transpose", "reshape", "broadcast_in_dim", "squeeze", "copy")
)


def discover(apply_fn: Callable[..., Any], variables: Any, *inputs: Any) -> UnitGroups:
    """Finds the units of any JAX function: what can be removed from its variables together.

    A unit is a set of indices along axes of leaves (the column of a kernel, its bias, its norm
    scale and statistics, the rows of everything that reads it). Removing it means: every sum that
    reads it is taken without it, and nothing else changes. `compact` does this; it equals the
    function itself with all of the unit's entries in `variables` set to zero (`weight_masks`).

    Whatever cannot be shown to allow that is refused, with the reason: inputs and outputs, axes
    that something looks across (a softmax, a variance, a sort), what an unknown primitive meets.

    Args:
      apply_fn: `(variables, *inputs) → arrays`; anything `jax.make_jaxpr` can trace.
      variables: Any pytree of arrays or of their shapes.
      *inputs: Arrays or shapes; the batch size does not matter.

    Returns:
      Groups and refusals.
    """
    traced = trace(apply_fn, variables, *inputs)
    return group_units(traced, solve(traced))[0]


def group_units(traced: Trace, solution: Solution) -> tuple[UnitGroups, dict[str, list[int]]]:
    """Units of one kind together, and which units of the solution each group has, in order."""
    leaves = dict(zip(traced.paths, traced.program.ins, strict=False))
    owners = defaultdict(list)
    for number, unit in enumerate(solution.units):
        for c in unit:
            owners[c].append(number)
    pairs = {
        (path, axis): _pairs(solution.classes[leaf.nodes(axis)], owners)
        for path, leaf in leaves.items()
        for axis in range(len(leaf.shape))
    }
    kinds: dict[int, list] = defaultdict(list)
    for key, (unit, _) in pairs.items():
        numbers, counts = np.unique(unit, return_counts=True)
        for number, count in zip(numbers.tolist(), counts.tolist(), strict=True):
            kinds[number].append((key, count))
    alike: dict[tuple, list[int]] = defaultdict(list)
    for number in sorted(kinds):
        alike[tuple(kinds[number])].append(number)
    order = _first_use(traced)
    found, numbers_of = [], {}
    for kind, numbers in alike.items():
        keys = [key for key, _ in kind]
        path, axis = min(keys, key=lambda k: _naming(k, leaves[k[0]], order))
        name = f"{path}:{axis}"
        while name in numbers_of:
            name += "'"
        unit, at = pairs[path, axis]
        numbers.sort(key=lambda u: at[unit == u].tolist())  # noqa: B023 - used at once
        numbers_of[name] = numbers
        members = tuple(_member(key, numbers, pairs[key]) for key in keys)
        found.append(UnitGroup(name, len(numbers), members))
    found.sort(key=lambda g: (order.get(g.name.rpartition(":")[0], 0), g.name))
    refused = tuple(_refusals(leaves, solution))
    return UnitGroups(tuple(found), refused), numbers_of


def _naming(key: tuple[str, int], leaf: Value, order: dict[str, int]) -> tuple:
    """Sort key of a group's members: kernels before biases, the first that is used, the last axis."""
    path, axis = key
    return len(leaf.shape) < 2, order.get(path, len(order)), -axis


def _pairs(classes: np.ndarray, owners: dict[int, list[int]]) -> tuple[np.ndarray, np.ndarray]:
    """(unit, index) of all indices along an axis that a unit owns."""
    both = [(u, i) for i, c in enumerate(classes.tolist()) for u in owners.get(c, ())]
    array = np.array(both, int).reshape(-1, 2)
    return array[:, 0], array[:, 1]


def _member(key: tuple[str, int], numbers: list[int], pairs: Any) -> Member:
    own = {number: i for i, number in enumerate(numbers)}
    keep = [(own[u], i) for u, i in zip(*(p.tolist() for p in pairs), strict=True) if u in own]
    array = np.array(keep, int).reshape(-1, 2)
    return Member(*key, array[:, 0], array[:, 1])


def _first_use(traced: Trace) -> dict[str, int]:
    """When each leaf is first used: what computes a unit comes before what reads it."""
    origin = {x.id: path for x, path in zip(traced.program.ins, traced.paths, strict=False)}
    order: dict[str, int] = {}

    def walk(program: Program) -> None:
        for step in program.steps:
            if step.name in ONLY_MOVED and step.ins[0].id in origin:
                origin[step.outs[0].id] = origin[step.ins[0].id]
                continue
            for body in step.bodies:
                for outside, inside in zip(step.ins[::-1], body.ins[::-1], strict=False):
                    if outside.id in origin:
                        origin[inside.id] = origin[outside.id]
                walk(body)
            for x in step.ins:
                if x.id in origin:
                    order.setdefault(origin[x.id], len(order))

    walk(traced.program)
    return order


def _refusals(leaves: dict[str, Value], solution: Solution) -> Iterator[Refusal]:
    for path in sorted(leaves, key=tree.natural_order):
        for axis, n in enumerate(leaves[path].shape):
            classes = solution.classes[leaves[path].nodes(axis)].tolist()
            reasons = Counter(solution.reasons[c] for c in classes if c in solution.reasons)
            if reasons and n > 1:
                yield Refusal(path, axis, reasons.total(), reasons.most_common(1)[0][0])
