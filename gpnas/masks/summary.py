"""Summaries of masks: densities, dead units, numbers of grown and pruned weights."""

from typing import Any, NamedTuple

import jax

from gpnas.masks import tree
from gpnas.masks._leaves import masked_leaves
from gpnas.masks.axes import AxesTable, canonical, sides


class LeafSummary(NamedTuple):
    """Summary of one masked leaf.

    Attributes:
      path: Path of the leaf.
      shape: Shape of the leaf.
      nonzeros: Active weights.
      dead_in: Input units without an active weight.
      dead_out: Output units without an active weight.
    """

    path: str
    shape: tuple[int, ...]
    nonzeros: int
    dead_in: int
    dead_out: int


def active_counts(masks: Any) -> dict[str, jax.Array]:
    """Returns `{path: () int32}`, the active weights of each masked leaf; may be traced."""
    return {path: tree.total([m]) for path, m in masked_leaves(masks).items()}


def density(masks: Any) -> jax.Array:
    """Returns () float32, the active fraction of the weights of all masked leaves; may be traced.

    It is 0 if there is no masked leaf.
    """
    leaves = masked_leaves(masks)
    total = sum(leaf.size for leaf in leaves.values())
    return tree.total(leaves.values()) / max(total, 1)


def changes(old: Any, new: Any) -> tuple[dict[str, jax.Array], dict[str, jax.Array]]:
    """Returns `({path: grown}, {path: pruned})`, () int32 each; may be traced."""
    before, after = masked_leaves(old), masked_leaves(new)
    grown = {p: tree.total([after[p] & ~before[p]]) for p in after}
    pruned = {p: tree.total([before[p] & ~after[p]]) for p in after}
    return grown, pruned


def units(masks: Any, axes: AxesTable | None = None) -> dict[str, tuple[jax.Array, jax.Array]]:
    """Returns `{path: (inputs, outputs)}`: which units have an active weight; may be traced.

    Each (n,) bool; (layers, n) for stacked layers. Masks in NumPy give arrays in NumPy.

    Args:
      masks: Masks.
      axes: `Axes` by path glob.

    Raises:
      ValueError: If a glob of `axes` matches no leaf.
    """
    leaves = masked_leaves(masks)
    tree.check_globs("axes", axes or {}, tree.leaves_by_path(masks))

    def of_leaf(path: str, mask: jax.Array) -> tuple[jax.Array, jax.Array]:
        at = sides(path, mask.ndim, axes)
        own = canonical(mask, at)
        batch = range(len(at.batch), own.ndim)
        last = own.ndim - 1
        inputs, outputs = (tuple(i for i in batch if i != side) for side in (last - 1, last))
        return own.any(inputs), own.any(outputs)

    return {path: of_leaf(path, mask) for path, mask in leaves.items()}


def layers(masks: Any, axes: AxesTable | None = None) -> list[LeafSummary]:
    """Returns one summary per masked leaf, in natural order; runs on the host.

    Args:
      masks: Masks.
      axes: `Axes` by path glob. Units of stacked layers are counted in each layer.

    Raises:
      ValueError: If a glob of `axes` matches no leaf.
    """
    on_host = jax.device_get(masks)
    connected = units(on_host, axes)
    return [
        LeafSummary(path, mask.shape, int(mask.sum()), *(int((~u).sum()) for u in connected[path]))
        for path, mask in masked_leaves(on_host).items()
    ]
