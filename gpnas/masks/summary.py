"""Summaries of masks: densities, dead units, what woke and what was dropped."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gpnas.masks import tree
from gpnas.masks.axes import Table, canonical, sides


class LeafSummary(NamedTuple):
    """One maskable leaf.

    Attributes:
      path: Where it is.
      shape: Its shape.
      nonzeros: Living weights.
      dead_in: Input units without a living weight.
      dead_out: Output units without a living weight.
    """

    path: str
    shape: tuple[int, ...]
    nonzeros: int
    dead_in: int
    dead_out: int


def count(masks: Any) -> dict[str, jax.Array]:
    """`{path: () int32}`, living weights of each maskable leaf; may be traced."""
    return {path: tree.total([m]) for path, m in tree.maskable(masks).items()}


def density(masks: Any) -> jax.Array:
    """() float32, living fraction of all the maskable weights; may be traced."""
    leaves = tree.maskable(masks)
    total = sum(leaf.size for leaf in leaves.values())
    alive = tree.total(leaves.values())
    return alive / max(total, 1)


def changes(old: Any, new: Any) -> tuple[dict[str, jax.Array], dict[str, jax.Array]]:
    """`({path: woken}, {path: dropped})`, () int32 each; may be traced."""
    before, after = tree.maskable(old), tree.maskable(new)
    woken = {p: tree.total([after[p] & ~before[p]]) for p in after}
    dropped = {p: tree.total([before[p] & ~after[p]]) for p in after}
    return woken, dropped


def units(masks: Any, axes: Table | None = None) -> dict[str, tuple[jax.Array, jax.Array]]:
    """Unit masks: `{path: (inputs, outputs)}`, which have a living weight; may be traced.

    Each (n,) bool, the second for outputs (units, filters); (layers, n) for stacked layers.

    Args:
      masks: Masks.
      axes: `Axes` by path glob.
    """
    leaves = tree.maskable(masks)
    tree.check_globs("axes", axes or {}, leaves)

    def alive(path: str, mask: jax.Array) -> tuple[jax.Array, jax.Array]:
        at = sides(path, mask.ndim, axes)
        own = canonical(mask, at)
        batch = range(len(at.batch), own.ndim)
        last = own.ndim - 1
        inputs, outputs = (tuple(i for i in batch if i != side) for side in (last - 1, last))
        return jnp.any(own, inputs), jnp.any(own, outputs)

    return {path: alive(path, mask) for path, mask in leaves.items()}


def layers(masks: Any) -> list[LeafSummary]:
    """One summary a maskable leaf, in natural order; on the host."""
    living = units(masks)
    return [
        LeafSummary(
            path, tuple(mask.shape), int(jnp.sum(mask)), *(int(jnp.sum(~u)) for u in living[path])
        )
        for path, mask in tree.maskable(masks).items()
    ]
