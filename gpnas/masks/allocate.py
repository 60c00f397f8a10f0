"""Allocation: the number of active weights of each leaf, or of each group of competing leaves.

An allocation maps `(shapes, density)` to `{group: k}`. A group is a tuple of paths whose weights
compete for k places: one leaf per group, except for `global_` and `by_total_cost`, where all leaves
compete. Densities may be traced. The sum of all k is round(density · size), unless leaves that stay
dense need more, or the budget is in cost.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from gpnas.masks import tree
from gpnas.masks.axes import AxesTable, layer_shape

#: `{path: shape}` of the masked leaves.
Shapes = Mapping[str, tuple[int, ...]]
#: Paths of leaves that compete for one number of weights.
Group = tuple[str, ...]


class Allocation(NamedTuple):
    """Splits a density over leaves, or lets leaves compete; called as `counts`.

    Attributes:
      counts: `(shapes, density) → {group: () int32}`, the number of active weights of each group,
        or their cost where weights have costs.
      weight_costs: `shapes → {path: int}`, the cost of one weight; empty if each counts as one.
    """

    counts: Callable[[Shapes, jax.Array], dict[Group, jax.Array]]
    weight_costs: Callable[[Shapes], dict[str, int]] = lambda shapes: {}

    def __call__(self, shapes: Shapes, density: jax.Array) -> dict[Group, jax.Array]:
        return self.counts(shapes, density)


def leaf_sizes(shapes: Shapes) -> np.ndarray:
    """Returns (leaves,) int64, the number of elements of each leaf."""
    return np.array([int(np.prod(shape)) for shape in shapes.values()])


def global_() -> Allocation:
    """Returns one group of all leaves, which compete for one budget."""

    return Allocation(
        lambda shapes, density: {tuple(shapes): part_of(density, int(leaf_sizes(shapes).sum()))}
    )


def uniform(dense: Sequence[str] = ()) -> Allocation:
    """Gives every leaf the same density.

    Args:
      dense: Path globs of leaves that stay dense; the density of the others is lower accordingly.

    Raises:
      ValueError: (on use) If a glob matches no leaf.
    """
    return _proportional(lambda path, shape: 1.0, dense=dense)


def erk(dense: Sequence[str] = (), axes: AxesTable | None = None) -> Allocation:
    """Erdős–Rényi(-kernel): density of a leaf ∝ sum of its axes / their product, at most 1.

    Args:
      dense: Path globs of leaves that stay dense.
      axes: `Axes` by path glob: several input (or output) axes count as one, and stacked layers are
        separate layers.

    Raises:
      ValueError: (on use) If a glob of `dense` matches no leaf.

    References:
      Mocanu et al. 2018 (arXiv:1707.04780); Evci et al. 2020 (arXiv:1911.11134), section 3.
    """

    def raw(path: str, shape: tuple[int, ...]) -> float:
        own = layer_shape(path, shape, axes)
        return sum(own) / math.prod(own) if math.prod(own) else 1.0

    return _proportional(raw, dense=dense)


def by_cost(costs: Mapping[str, float], power: float = 0.5) -> Allocation:
    """Spends a budget in cost: Σ cost·k = density · Σ cost·size, up to one weight per leaf.

    Args:
      costs: Cost of one weight (for example MACs per example) by path glob; 1 where none matches.
      power: Density of a leaf ∝ cost^−power. 0 gives every leaf the same density; ½ minimises
        Σ size / density under the budget, if no leaf is dense.

    Raises:
      ValueError: For a cost that is not positive and finite; (on use) if a glob matches no leaf.
    """

    check_costs("by_cost", costs.values())

    def cost(path: str) -> float:
        return tree.lookup(costs, path, 1.0)

    return _proportional(lambda path, shape: cost(path) ** -power, cost, globs=tree.globs_of(costs))


def by_total_cost(costs: Mapping[str, float]) -> Allocation:
    """Lets all leaves compete by score per cost for a budget in cost.

    The density is then a fraction of the total cost. In units of the rounded costs, the cost of the
    active weights is at most the budget, and within the cost of one weight of it.

    Args:
      costs: Cost of one weight (for example MACs per example) by path glob; 1 where none matches.
        Costs are rounded up to whole units, and the budget is a fraction of the rounded total. The
        unit is the greatest common divisor of whole costs, which is exact, or 2⁻³⁰ of the total
        cost if costs are fractions or the divisor is smaller than that. With the latter unit, the
        true cost exceeds its budget by at most a fraction n·2⁻³⁰, for n weights in all.

    Raises:
      ValueError: For a cost that is not positive and finite; (on use) if a glob matches no leaf.
    """
    check_costs("by_total_cost", costs.values())

    def counts(shapes: Shapes, density: jax.Array) -> dict[Group, jax.Array]:
        whole = weight_costs(shapes)
        total = sum(whole[path] * math.prod(shape) for path, shape in shapes.items())
        return {tuple(shapes): part_of(density, total)}

    def weight_costs(shapes: Shapes) -> dict[str, int]:
        tree.check_globs("allocation", tree.globs_of(costs), shapes)
        each = {path: tree.lookup(costs, path, 1.0) for path in shapes}
        total = sum(each[path] * math.prod(shape) for path, shape in shapes.items())
        common = math.gcd(*(int(c) for c in each.values()))
        unit = max(common if all(c == int(c) for c in each.values()) else 0, total / 2**30)
        return {path: math.ceil(cost / unit) for path, cost in each.items()}

    return Allocation(counts, weight_costs)


def check_costs(field: str, costs: Iterable[Any]) -> None:
    """Checks costs, each a number or an array.

    Args:
      field: Name of their argument, or of the function that takes them.
      costs: The costs.

    Raises:
      ValueError: For one that is not positive and finite.
    """
    if wrong := [c for c in costs if not np.all((np.asarray(c) > 0) & np.isfinite(c))]:
        raise ValueError(f"{field}: got {wrong[0]}, allowed: positive finite costs")


def per_leaf(densities: Mapping[str, float]) -> Allocation:
    """Scales explicit relative densities to the total: `{"Dense_0/*": 0.01, "*": 0.1}`.

    Args:
      densities: Path glob → relative density; the first match is used.

    Raises:
      ValueError: (on use) If a leaf matches no glob, or a value is not positive.
    """

    def raw(path: str, shape: tuple[int, ...]) -> float:
        density = tree.lookup(densities, path, 0.0)
        if density <= 0:
            raise ValueError(
                f"per_leaf: got {density} for {path}, allowed: a positive density for each leaf"
            )
        return density

    return _proportional(raw, globs=tuple(densities))


def check_feasible(allocation: Allocation, shapes: Shapes, density: float) -> None:
    """Checks that an allocation can meet a density. Call it outside of jit, before a run.

    Args:
      allocation: The allocation.
      shapes: `{path: shape}` of the masked leaves.
      density: The lowest density of the run, in (0, 1].

    Raises:
      ValueError: If a group would get no weight, because the density is too small or because leaves
        that stay dense use the whole budget.
    """
    given = {group: int(k) for group, k in allocation(shapes, jnp.float32(density)).items()}
    starved = [
        ", ".join(group)
        for group, k in given.items()
        if k < 1 and any(math.prod(shapes[path]) for path in group)
    ]
    if starved:
        raise ValueError(f"density {density:g} leaves no weight in {'; '.join(starved)}")


def _proportional(
    raw: Callable[[str, tuple[int, ...]], float],
    cost: Callable[[str], float] | None = None,
    dense: Sequence[str] = (),
    globs: Sequence[str] = (),
) -> Allocation:
    """Returns densities min(1, ε·raw), with ε such that the active weights cost the budget."""

    def counts(shapes: Shapes, density: jax.Array) -> dict[Group, jax.Array]:
        tree.check_globs("dense", dense, shapes)
        tree.check_globs("allocation", globs, shapes)
        size = leaf_sizes(shapes)
        if not size.sum():
            return {(path,): jnp.int32(0) for path in shapes}
        if not size.all():  # rounding must not assign weights to empty leaves
            some = {path: shape for path, shape in shapes.items() if math.prod(shape)}
            empty = {(path,): jnp.int32(0) for path in shapes if path not in some}
            found = split(some, density)
            return {(path,): (found | empty)[(path,)] for path in shapes}
        return split(shapes, density)

    def split(shapes: Shapes, density: jax.Array) -> dict[Group, jax.Array]:
        size = leaf_sizes(shapes)
        stay = dict.fromkeys(dense, True)
        pinned = np.array([tree.lookup(stay, path, False) for path in shapes], bool)
        ratio = _float([raw(path, shape) for path, shape in shapes.items()])
        weight = size * np.array([1.0 if cost is None else cost(path) for path in shapes])
        budget = density * float(weight.sum())
        wanted = fill(ratio, _float(weight), budget, pinned) * _float(size)
        if cost is None:
            total = jnp.maximum(part_of(density, int(size.sum())), int(size[pinned].sum()))
        else:
            total = jnp.round(jnp.sum(wanted)).astype(jnp.int32)
        rounded = round_to_total(wanted, total)
        return {(path,): rounded[i] for i, path in enumerate(shapes)}

    return Allocation(counts)


def _float(x: Any) -> jax.Array:
    return jnp.asarray(x, jnp.float32)


def part_of(density: jax.Array, size: int) -> jax.Array:
    """Returns round(density · size), () int32; not limited to the integers of float32, 2²⁴."""
    high, low = divmod(size, 4096)
    head = jnp.round(density * 4096)
    tail = density - head / 4096
    rest = jnp.round(head * (low / 4096) + tail * size)
    return head.astype(jnp.int32) * high + rest.astype(jnp.int32)


@jax.jit  # calls outside of jit compile once
def fill(ratio: jax.Array, weight: jax.Array, budget: jax.Array, full: Any = False) -> jax.Array:
    """Returns (leaves,) densities min(1, ε·ratio) with Σ weight·density = budget (water-filling).

    Args:
      ratio: (leaves,) float32, relative densities.
      weight: (leaves,) float32, cost at density 1.
      budget: () float32, total cost.
      full: (leaves,) bool, leaves with density 1.
    """

    def scale(full: jax.Array) -> jax.Array:
        left = jnp.maximum(budget - jnp.sum(jnp.where(full, weight, 0)), 0)
        return left / jnp.maximum(jnp.sum(jnp.where(full, 0, ratio * weight)), 1e-30)

    def body(_: int, full: jax.Array) -> jax.Array:
        return full | (scale(full) * ratio >= 1)

    filled = lax.fori_loop(0, ratio.size, body, jnp.broadcast_to(full, ratio.shape))
    return jnp.where(filled, 1.0, jnp.minimum(scale(filled) * ratio, 1.0))


@jax.jit
def round_to_total(wanted: jax.Array, total: jax.Array) -> jax.Array:
    """Rounds to (leaves,) int32 of exact sum, each within 1 of `wanted`, by largest remainders.

    Args:
      wanted: (leaves,) float32, at least 0.
      total: () int32, about their sum.
    """
    floor = jnp.floor(wanted)
    rank = jnp.argsort(jnp.argsort(-(wanted - floor)))
    whole = floor.astype(jnp.int32)
    each, one_more = jnp.divmod(total - jnp.sum(whole), wanted.size)
    return whole + each + (rank < one_more).astype(jnp.int32)
