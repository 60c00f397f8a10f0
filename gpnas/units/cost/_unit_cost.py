"""Parameters, MACs and FLOPs of a network and of each unit, as functions of unit masks.

The cost of a unit depends on which other units are active: a channel is consumed by the active
channels of the next layer. The count of a primitive is a constant times the lengths of its axes
(`_op_counts`), and unit masks determine how many indices of an axis are active. So a cost is a sum
of products, which is found once and then evaluated for any masks, on the host or under `jax.jit`.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gpnas.errors import UserError, check_choice
from gpnas.units._blocks import Blocks, block_group
from gpnas.units._discover import group_units
from gpnas.units._groups import UnitMasks, split_by_group
from gpnas.units.cost._block_ops import blocks_of_leaves, blocks_of_ops
from gpnas.units.cost._layers import AxisOf, TimedLayer, make_layer
from gpnas.units.cost._op_counts import PRODUCTS, op_counts
from gpnas.units.graph import Solution, Trace, solve, trace

#: Kinds of cost that `cost_model` counts.
KINDS = ("params", "macs", "flops")
# A constant factor, the nodes of the axes whose lengths it is multiplied by, and axes of blocks.
_Product = tuple[float, tuple[np.ndarray, ...], tuple[int, ...]]


class Terms(NamedTuple):
    """A sum of products of a constant with the active lengths of some axes.

    Attributes:
      times: (terms,) float64, the constants.
      axes: (terms, factors) int, numbers of axes; padded with an axis of length 1.
    """

    times: np.ndarray
    axes: np.ndarray


class CostModel(NamedTuple):
    """The costs of a function and its units as functions of unit masks.

    Attributes:
      sizes: `{group: number of units}`; units are numbered consecutively in this order, blocks
        last.
      owners: (axes, sets, units of a set) int: the distinct sets of units that own indices of each
        axis, padded with the total number of units. An index is active if all of its owners are.
      counts: (axes, sets) float64: number of indices of the axis that each set owns.
      terms: `{kind of cost: its terms}`.
      layers: All products and convolutions of the function.
    """

    sizes: dict[str, int]
    owners: np.ndarray
    counts: np.ndarray
    terms: dict[str, Terms]
    layers: tuple[TimedLayer, ...]


def cost_model(
    apply_fn: Callable[..., Any], variables: Any, *inputs: Any, blocks: Blocks | None = None
) -> CostModel:
    """Traces a function once, to compute costs of its units under any masks.

    Args:
      apply_fn, variables, inputs: As for `discover`; costs are per unit of its groups. Costs are
        for these inputs; pass a single example for costs per example.
      blocks: As for `with_blocks`: each removable part is a further group of one unit. The cost of
        a block is that of all operations the output no longer depends on once it is removed.

    Returns:
      The model, an argument of `total_cost`, `unit_cost` and `measure_layers`.
    """
    traced, blocks = trace(apply_fn, variables, *inputs), blocks or {}
    solution = solve(traced)
    _, numbers = group_units(traced, solution)
    sizes = {name: len(group) for name, group in numbers.items()}
    units = sum(sizes.values())
    owned = [np.array([[units + i]]) for i in range(len(blocks))]  # axis i belongs to block i only
    numbered = [n for group in numbers.values() for n in group]
    found, axis_of = _axes(solution, numbered, units + len(blocks), owned)
    counted = [
        (count, inside)
        for op, inside in zip(traced.graph.ops, blocks_of_ops(traced, blocks), strict=True)
        for count in op_counts(traced.graph._replace(ops=(op,)))
    ]
    products = [(count, inside) for count, inside in counted if count.op.name in PRODUCTS]
    sums = {
        "params": _leaves(traced, blocks_of_leaves(traced, blocks)),
        "macs": [(count.padded_times(), count.axes, inside) for count, inside in products],
        "flops": [
            (count.times * (1 + (count.op.name in PRODUCTS)), count.axes, inside)
            for count, inside in counted
        ],
    }
    terms = {kind: _terms(each, axis_of) for kind, each in sums.items()}
    layers = tuple(
        make_layer(count.op, count.repeats, axis_of)._replace(blocks=inside)
        for count, inside in products
    )
    all_sizes = sizes | {block_group(name): 1 for name in blocks}
    return CostModel(all_sizes, *_stacked(found, units + len(blocks)), terms, layers)


def total_cost(model: CostModel, unit_masks: UnitMasks, kind: str = "macs") -> Any:
    """Computes the total cost of the active units.

    "params" counts all numbers in the variables, statistics included. "macs" counts products and
    convolutions, padding included. "flops" counts, as XLA does, two per MAC that does not fall on
    padding, one per element of arithmetic, and reductions and pooling; transcendental functions
    (exp, tanh) count as zero.

    Args:
      model: A model from `cost_model`.
      unit_masks: `{group: (size,) bool}`; missing groups are active. May be traced.
      kind: One of `KINDS`: "params", "macs" or "flops".

    Returns:
      () float; a numpy number for numpy masks.

    Raises:
      UserError: For an unknown group or kind, or a mask of the wrong size.
    """
    active, xp = active_vector(model, unit_masks)
    terms = _of_kind(model, kind)
    length = xp.concatenate([active_lengths(model, active), xp.ones(1)])
    return (terms.times.astype(active.dtype) * length[terms.axes].prod(1)).sum()


def unit_cost(model: CostModel, unit_masks: UnitMasks, kind: str = "macs") -> dict[str, Any]:
    """Computes each unit's marginal cost: the total with it active minus that with it inactive.

    All other units are as in the masks. So it is the cost saved by pruning an active unit, or added
    by growing an inactive one.

    Args:
      model: A model from `cost_model`.
      unit_masks: `{group: (size,) bool}`; missing groups are active. May be traced.
      kind: One of `KINDS`.

    Returns:
      `{group: (size,) float}`.

    Raises:
      UserError: As for `total_cost`.
    """
    active, xp = active_vector(model, unit_masks)
    terms = _of_kind(model, kind)
    without, more = lengths_without_each(model, active)
    ones = xp.ones((1, len(active) - 1))
    without, more = xp.concatenate([without, ones]), xp.concatenate([more, 0 * ones])
    cost = 0.0
    for j in range(terms.axes.shape[1]):  # a·b − c·d as (a − c)·b + c·(b − d): nothing cancels
        product = more[terms.axes[:, j]]
        for i in range(terms.axes.shape[1]):
            at = terms.axes[:, i]
            if i != j:
                product = product * (without[at] + (more[at] if i < j else 0))
        cost = cost + (terms.times.astype(active.dtype)[:, None] * product).sum(0)
    return split_by_group(model.sizes, cost)


def active_vector(model: CostModel, unit_masks: UnitMasks) -> tuple[Any, Any]:
    """Returns ((units + 1,) float, 1 for active units and the padding; numpy or jax.numpy).

    Raises:
      UserError: For an unknown group, or a mask of the wrong size.
    """
    for name, mask in unit_masks.items():
        if name not in model.sizes:
            raise UserError("group", name, ", ".join(model.sizes) or "none")
        if np.shape(mask) != (model.sizes[name],):
            raise UserError(f"unit_masks[{name}]", np.shape(mask), f"({model.sizes[name]},) bool")
    xp = jnp if any(isinstance(mask, jax.Array) for mask in unit_masks.values()) else np
    masks = [unit_masks.get(name, np.ones(n, bool)) for name, n in model.sizes.items()]
    return xp.concatenate([*masks, np.ones(1, bool)]).astype(float), xp


def active_lengths(model: CostModel, active: Any) -> Any:
    """Returns the active length of each axis; (axes,) float."""
    return (model.counts.astype(active.dtype) * active[model.owners].prod(2)).sum(1)


def lengths_without_each(model: CostModel, active: Any) -> tuple[Any, Any]:
    """Returns the active length of each axis without each unit, and what the unit adds to it.

    Returns:
      (axes, units) float each; their sum is the length with the unit active.
    """
    units, counts = len(active) - 1, model.counts.astype(active.dtype)[:, :, None]
    added = counts * _others_active(active, model.owners)
    rows, shape = np.arange(len(counts))[:, None, None], (len(counts), units + 1)
    if isinstance(added, np.ndarray):
        gained: Any = np.zeros(shape, active.dtype)
        np.add.at(gained, (rows, model.owners), added)
    else:
        gained = jnp.zeros(shape, active.dtype).at[rows, model.owners].add(added)
    gained = gained[:, :units]
    return active_lengths(model, active)[:, None] - active[None, :units] * gained, gained


def _others_active(active: Any, owners: np.ndarray) -> Any:
    """Returns 1 for each owner of a set whose other owners are active; on the host if it has none.

    Args:
      active: (units + 1,) float, see `active_vector`.
      owners: (axes, sets, units of a set) int.
    """
    size = owners.shape[2]
    if size < 2:
        return np.ones(owners.shape, active.dtype)
    others = np.stack([np.delete(owners, i, axis=2) for i in range(size)], axis=2)
    return active[others].prod(3)


def _of_kind(model: CostModel, kind: str) -> Terms:
    check_choice("kind", kind, model.terms)
    return model.terms[kind]


def _leaves(traced: Trace, blocks: list[tuple[int, ...]]) -> list[_Product]:
    leaves = traced.graph.ins[: len(traced.paths)]
    return [
        (1.0, tuple(x.nodes(axis) for axis in range(len(x.shape))), inside)
        for x, inside in zip(leaves, blocks, strict=True)
    ]


def _axes(
    solution: Solution, numbers: list[int], units: int, first: list[np.ndarray]
) -> tuple[list[np.ndarray], AxisOf]:
    """Returns the owners of axes, and a function that looks up or adds an axis by its nodes.

    Args:
      solution: The units of the function.
      numbers: Numbers of the units in groups, in order.
      units: Number of units, including blocks.
      first: Owners of the axes of the blocks.
    """
    owners: dict[int, list[int]] = defaultdict(list)
    for unit, number in enumerate(numbers):
        for c in solution.units[number]:
            owners[c].append(unit)
    found = first
    known: dict[bytes, int | None] = {}

    def axis_of(nodes: np.ndarray) -> tuple[int | None, int]:
        classes = solution.classes[nodes]
        key = classes.tobytes()
        if key not in known:
            table = [owners.get(c, []) for c in classes.tolist()]
            most = max(map(len, table), default=0)
            known[key] = len(found) if most else None
            if most:
                filled = [row + [units] * (most - len(row)) for row in table]
                found.append(np.array(filled))
        return known[key], len(nodes)

    return found, axis_of


def _stacked(axes: list[np.ndarray], units: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns `owners` and `counts` of a `CostModel`.

    Args:
      axes: (length, units of a set) int each: the owners of each index of an axis.
      units: Number of units.
    """
    found = [np.unique(owners, axis=0, return_counts=True) for owners in axes]
    most = max((sets.shape[0] for sets, _ in found), default=0)
    widest = max((sets.shape[1] for sets, _ in found), default=0)
    owners = np.full((len(axes), most, widest), units)
    counts = np.zeros((len(axes), most))
    for axis, (sets, lengths) in enumerate(found):
        owners[axis, : len(sets), : sets.shape[1]] = sets
        counts[axis, : len(sets)] = lengths
    return owners, counts


def _terms(sums: Iterable[_Product], axis_of: AxisOf) -> Terms:
    """Merges products over the same axes."""
    merged: dict[tuple[int, ...], float] = defaultdict(float)
    for times, axes, blocks in sums:
        looked_up = [axis_of(nodes) for nodes in axes]
        fixed = math.prod(n for number, n in looked_up if number is None)
        own = [*blocks, *(a for a, _ in looked_up if a is not None)]
        merged[tuple(sorted(own))] += times * fixed
    most = max(map(len, merged), default=0)
    rows = [key + (-1,) * (most - len(key)) for key in merged]  # −1: the last axis, of length 1
    return Terms(np.array(list(merged.values())), np.array(rows, int).reshape(len(rows), most))
