"""What each unit costs: parameters, multiply-accumulates (MACs) and FLOPs, as the living leave it.

What a unit costs depends on who else lives: a channel is read by the living channels behind it. The
work of a step is a number times the lengths of its axes (`work.py`), and a length is how many of
the axis's indices live, which unit masks say. So costs are sums of products of a few numbers, that
are found once and then computed for any masks, on the host or within `jax.jit`.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gpnas.errors import UserError
from gpnas.units._discover import group_units
from gpnas.units._groups import UnitMasks
from gpnas.units.cost._layers import AxisOf, Layer, make_layer
from gpnas.units.cost._op_counts import PRODUCTS, all_work
from gpnas.units.graph._solve import Solution, solve
from gpnas.units.graph._trace import Trace, trace

KINDS = ("params", "macs", "flops")


class Terms(NamedTuple):
    """A sum of products: of a number and the living lengths of some axes.

    Attributes:
      times: (terms,) float64.
      axes: (terms, most) int, numbers of axes; one that is always of length 1 fills up.
    """

    times: np.ndarray
    axes: np.ndarray


class Counts(NamedTuple):
    """All that is needed to say what units cost under any masks.

    Attributes:
      sizes: `{group: number of units}`; units are numbered through in this order.
      axes: For each axis that has units, (n, most) int: the units that own each of its indices, the
        number of units where there are fewer. An index lives while all of them do.
      terms: By kind of cost.
      layers: Every product and convolution of the function.
    """

    sizes: dict[str, int]
    axes: tuple[np.ndarray, ...]
    terms: dict[str, Terms]
    layers: tuple[Layer, ...]


def count(apply_fn: Callable[..., Any], variables: Any, *inputs: Any) -> Counts:
    """Counts what a function and each of its units cost.

    Args:
      apply_fn, variables, *inputs: As for `discover`, whose groups the costs are of. Costs are
        those of these inputs: for one image, give one.

    Returns:
      What `total_cost` and `unit_cost` take.
    """
    traced = trace(apply_fn, variables, *inputs)
    solution = solve(traced)
    _, numbers = group_units(traced, solution)
    found, axis_of = _axes(solution, [n for group in numbers.values() for n in group])
    work = list(all_work(traced.program))
    products = [w for w in work if w.step.name in PRODUCTS]
    sums = {
        "params": _leaves(traced),
        "macs": [(w.times, w.axes) for w in products],
        "flops": [(w.times * (1 + (w.step.name in PRODUCTS)), w.axes) for w in work],
    }
    terms = {kind: _terms(each, axis_of) for kind, each in sums.items()}
    sizes = {name: len(group) for name, group in numbers.items()}
    layers = tuple(make_layer(w.step, w.turns, axis_of) for w in products)
    return Counts(sizes, tuple(found), terms, layers)


def total_cost(counts: Counts, unit_masks: UnitMasks, kind: str = "macs") -> Any:
    """What the living units of a function cost together.

    Parameters are all numbers of the variables that were counted, statistics too if they are among
    them. MACs are those of products and convolutions, without products with padding. FLOPs are two
    a MAC, one an element of arithmetic, and what reductions and pooling do, as XLA counts them;
    functions such as exp or tanh are none.

    Args:
      counts: Of `count`.
      unit_masks: `{group: (size,) bool}`; groups that are not named live. May be traced.
      kind: `params`, `macs` or `flops`.

    Returns:
      () number, of the inputs that were counted; on the host for masks of numpy.

    Raises:
      UserError: For a group or a kind that there is not, or a mask of another size.
    """
    living, xp = alive_units(counts, unit_masks)
    terms = _of_kind(counts, kind)
    length = xp.stack([*lengths(counts, living), xp.ones(())])
    return (terms.times.astype(living.dtype) * length[terms.axes].prod(1)).sum()


def unit_cost(counts: Counts, unit_masks: UnitMasks, kind: str = "macs") -> dict[str, Any]:
    """What each unit costs: the total with it alive, less the total with it dead.

    For a living unit that is what removing it saves, for a dead one what waking it takes, all else
    as the masks say.

    Args:
      counts: Of `count`.
      unit_masks: `{group: (size,) bool}`; groups that are not named live. May be traced.
      kind: `params`, `macs` or `flops`.

    Returns:
      `{group: (size,) float}`.

    Raises:
      UserError: As for `total_cost`.
    """
    living, xp = alive_units(counts, unit_masks)
    terms = _of_kind(counts, kind)
    without, more = without_each(counts, living, xp)
    ones = xp.ones((1, len(living) - 1))
    without, more = xp.concatenate([without, ones]), xp.concatenate([more, 0 * ones])
    cost = 0.0
    for j in range(terms.axes.shape[1]):  # a·b − c·d as (a − c)·b + c·(b − d): nothing cancels
        product = more[terms.axes[:, j]]
        for i in range(terms.axes.shape[1]):
            at = terms.axes[:, i]
            if i != j:
                product = product * (without[at] + (more[at] if i < j else 0))
        cost = cost + terms.times.astype(living.dtype) @ product
    return split_units(counts, cost)


def split_units(counts: Counts, values: Any) -> dict[str, Any]:
    """(units,) numbers by group."""
    ends = np.cumsum([0, *counts.sizes.values()]).tolist()
    return {name: values[a:b] for name, a, b in zip(counts.sizes, ends, ends[1:], strict=False)}


def alive_units(counts: Counts, unit_masks: UnitMasks) -> tuple[Any, Any]:
    """(units + 1,) float, 1 for a unit that lives, the last always; and numpy or jax.numpy.

    Raises:
      UserError: For a group that there is not, or a mask of another size.
    """
    for name, mask in unit_masks.items():
        if name not in counts.sizes:
            raise UserError("group", name, ", ".join(counts.sizes) or "none")
        if np.shape(mask) != (counts.sizes[name],):
            raise UserError(f"unit_masks[{name}]", np.shape(mask), f"({counts.sizes[name]},) bool")
    xp = jnp if any(isinstance(mask, jax.Array) for mask in unit_masks.values()) else np
    masks = [unit_masks.get(name, np.ones(n, bool)) for name, n in counts.sizes.items()]
    return xp.concatenate([*masks, np.ones(1, bool)]).astype(float), xp


def lengths(counts: Counts, living: Any) -> list:
    """() float, the living length of each axis."""
    return [living[owners].prod(1).sum() for owners in counts.axes]


def without_each(counts: Counts, living: Any, xp: Any) -> tuple[Any, Any]:
    """(axes, units) float: lengths with a unit dead, and how much longer with it alive."""
    units = len(living) - 1
    more = []
    for owners in counts.axes:
        gained = xp.zeros(units + 1, living.dtype)
        for column in range(owners.shape[1]):
            others = living[np.delete(owners, column, axis=1)].prod(1)
            gained = _add_at(xp, gained, owners[:, column], others)
        more.append(gained[:units])
    if not more:
        return xp.zeros((0, units), living.dtype), xp.zeros((0, units), living.dtype)
    gained = xp.stack(more)
    length = xp.stack(lengths(counts, living))
    return length[:, None] - living[None, :units] * gained, gained


def _add_at(xp: Any, array: Any, at: np.ndarray, values: Any) -> Any:
    if xp is np:
        return array + np.bincount(at, values, len(array))
    return array.at[at].add(values)


def _of_kind(counts: Counts, kind: str) -> Terms:
    if kind not in counts.terms:
        raise UserError("kind", kind, ", ".join(KINDS))
    return counts.terms[kind]


def _leaves(traced: Trace) -> list[tuple[float, tuple[np.ndarray, ...]]]:
    leaves = traced.program.ins[: len(traced.paths)]
    return [(1.0, tuple(x.nodes(axis) for axis in range(len(x.shape)))) for x in leaves]


def _axes(solution: Solution, numbers: list[int]) -> tuple[list[np.ndarray], AxisOf]:
    """A list of axes that grows, and `axis_of`, which looks one up by its nodes."""
    owners: dict[int, list[int]] = defaultdict(list)
    for unit, number in enumerate(numbers):
        for c in solution.units[number]:
            owners[c].append(unit)
    found: list[np.ndarray] = []
    known: dict[bytes, int | None] = {}

    def axis_of(nodes: np.ndarray) -> tuple[int | None, int]:
        classes = solution.classes[nodes]
        key = classes.tobytes()
        if key not in known:
            table = [owners.get(c, []) for c in classes.tolist()]
            most = max(map(len, table), default=0)
            known[key] = len(found) if most else None
            if most:
                filled = [row + [len(numbers)] * (most - len(row)) for row in table]
                found.append(np.array(filled))
        return known[key], len(nodes)

    return found, axis_of


def _terms(sums: Iterable[tuple[float, tuple[np.ndarray, ...]]], axis_of: AxisOf) -> Terms:
    """Products of the same axes as one term."""
    merged: dict[tuple[int, ...], float] = defaultdict(float)
    for times, axes in sums:
        looked_up = [axis_of(nodes) for nodes in axes]
        fixed = math.prod(n for number, n in looked_up if number is None)
        merged[tuple(sorted(a for a, _ in looked_up if a is not None))] += times * fixed
    most = max(map(len, merged), default=0)
    rows = [key + (-1,) * (most - len(key)) for key in merged]  # −1: the last, of length 1
    return Terms(np.array(list(merged.values())), np.array(rows, int).reshape(len(rows), most))
