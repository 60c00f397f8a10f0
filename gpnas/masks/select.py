"""Selection of exactly the k highest scores of a pytree, unstructured or structured.

The k-th highest score is found digit by digit in the bits of the float32 scores: each of a fixed
number of passes counts the scores above several thresholds (8 passes of 15 thresholds; on a CPU 16
passes of 3). Counts are summed over leaves, so nothing is concatenated or sorted. Sharded leaves
exchange a few integers per pass, in one collective if `jax.set_mesh` or their types declare the
sharding. A second search over a bijective hash of (index, seed) breaks ties, so that exactly k are
selected, without bias.
"""

import functools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from gpnas.masks._counting import counts
from gpnas.masks.axes import AxesTable, canonical, restored, sides
from gpnas.masks.tree import path_name

#: A selection with the signature of `exact_top_k`.
Select = Callable[..., Any]
_LIMIT = 2**31 - 1  # limit of costs and counts


def order_bits(scores: jax.Array) -> jax.Array:
    """Maps scores to uint32 that sort like the scores; NaN maps to 0.

    Args:
      scores: Any shape; float, or another dtype that float32 represents.

    Returns:
      uint32 of the same shape, above 0 except for NaN; equal for -0.0 and 0.0.
    """
    bits = lax.bitcast_convert_type(scores.astype(jnp.float32), jnp.uint32)
    size = bits & 0x7FFFFFFF  # bitwise, since arithmetic may flush subnormal numbers to zero
    negative = (bits > size) & (size > 0)
    order = jnp.where(negative, ~bits, size | jnp.uint32(1 << 31))
    return jnp.where(size > 0x7F800000, jnp.uint32(0), order)


def scramble(shape: tuple[int, ...], offset: int, key: jax.Array) -> jax.Array:
    """Returns a distinct pseudorandom uint32 per element: a bijection of the index, by `key`.

    The index is global, so the result does not depend on sharding.

    Args:
      shape: Shape of the array.
      offset: Global index of its first element.
      key: Random key.
    """
    strides = [math.prod(shape[i + 1 :]) for i in range(len(shape))]
    x = jnp.full(shape, offset, jnp.uint32)
    for axis, stride in enumerate(strides):
        x += lax.broadcasted_iota(jnp.uint32, shape, axis) * jnp.uint32(stride)
    return mix_bits(x, jax.random.bits(key, (2,), jnp.uint32))


def mix_bits(x: jax.Array, seeds: Iterable[jax.Array]) -> jax.Array:
    """Applies a bijection of uint32: the finalizer of murmur3, once per () uint32 seed."""
    for seed in seeds:
        x = x ^ seed
        x = (x ^ (x >> 16)) * jnp.uint32(0x85EBCA6B)
        x = (x ^ (x >> 13)) * jnp.uint32(0xC2B2AE35)
        x = x ^ (x >> 16)
    return x


def _cost_from(groups: list[Any], costs: list[Any], thresholds: jax.Array) -> jax.Array:
    """Returns the total cost of each group's elements >= each of its thresholds.

    Args:
      groups: Pytrees of uint32.
      costs: For each group, the cost of an element by leaf.
      thresholds: (groups, n) uint32.

    Returns:
      (groups, n) int32.
    """

    def one(group: Any, costs: Any, own: jax.Array) -> jax.Array:
        pairs = zip(jax.tree.leaves(group), jax.tree.leaves(costs), strict=True)
        return sum(
            (jnp.stack(counts(leaf, list(own))) * cost for leaf, cost in pairs),
            jnp.zeros(own.shape, jnp.int32),
        )

    return jnp.stack(list(map(one, groups, costs, thresholds)))


def _threshold(
    groups: list[Any], k: jax.Array, costs: list[Any]
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Returns for each group the largest uint32 t such that elements >= t cost at least k in total.

    The number of passes does not depend on the values: on a GPU each iteration of a data-dependent
    loop synchronises with the host.

    Returns:
      (groups,) each: t, or 0 if all elements cost less than k; the cost of the elements above t;
      whether the elements >= t cost at most k.
    """
    # Bits per pass, a divisor of 32. Results do not depend on it; see `top_k_ratio_25m` in
    # experiments/benchmarks.
    bits = 2 if jax.default_backend() == "cpu" else 4
    digits = jnp.arange(1, 2**bits, dtype=jnp.uint32)

    def digit(i: jax.Array, carry: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        threshold, above, found = carry
        shift = (32 - bits * (i + 1)).astype(jnp.uint32)
        each = _cost_from(groups, costs, threshold[:, None] | (digits << shift)[None])
        enough = each >= k[:, None]  # thus also for all lower thresholds
        threshold |= jnp.sum(enough, 1, dtype=jnp.uint32) << shift
        above = jnp.maximum(above, jnp.max(jnp.where(enough, 0, each), 1))
        found = jnp.minimum(found, jnp.min(jnp.where(enough, each, _LIMIT), 1))
        return threshold, above, found

    start = jnp.zeros(k.shape, jnp.uint32), jnp.zeros_like(k), jnp.full_like(k, _LIMIT)
    threshold, above, found = lax.fori_loop(0, 32 // bits, digit, start)
    return threshold, above, (threshold == 0) | (found <= k)


def exact_top_k(
    scores: Any,
    k: jax.Array | int,
    key: jax.Array,
    where: Any = None,
    costs: Any = None,
    over: bool = False,
) -> Any:
    """Selects exactly the k highest scores, or those whose costs sum to k.

    Args:
      scores: An array or a pytree of arrays, any float dtype, compared as float32; all leaves
        compete. NaN is never selected; -inf may be.
      k: () int, may be traced; clipped to the number of elements that can be selected.
      key: Random key that breaks ties.
      where: Bool pytree of the same structure; elements that are False are never selected.
      costs: Pytree of the same structure, the cost of one element of each leaf, a positive Python
        int; k is then a cost. The highest scores are selected until the next one would exceed k.
      over: With costs, whether this next element is selected, too, unless the sum is already k.

    Returns:
      Bool masks of the scores' structure and shapes, with exactly k True; with costs, the total
      cost is at most k (with `over`, below k plus the cost of one element).

    Raises:
      ValueError: If there are 2³¹ or more elements, or their total cost is that high.
    """
    (found,) = exact_top_k_each(
        [scores], [k], [key], None if where is None else [where],
        None if costs is None else [costs], over,
    )  # fmt: skip
    return found


def exact_top_k_each(
    scores: Sequence[Any],
    k: Iterable[jax.Array | int],
    keys: Iterable[jax.Array],
    where: Sequence[Any] | None = None,
    costs: Sequence[Any] | None = None,
    over: bool = False,
) -> list[Any]:
    """Calls `exact_top_k` in several groups with one search, whose counts share one collective.

    Args:
      scores: A pytree for each group; its leaves compete.
      k, keys, where, costs: As in `exact_top_k`, one per group.
      over: As in `exact_top_k`.

    Returns:
      For each group the masks that `exact_top_k` selects.

    Raises:
      ValueError: As in `exact_top_k`, for any group.
    """
    groups = list(scores)
    each = jax.tree.map(lambda _: 1, groups) if costs is None else list(costs)
    for group, own in zip(groups, each, strict=True):
        pairs = zip(jax.tree.leaves(group), jax.tree.leaves(own), strict=True)
        if sum(leaf.size * cost for leaf, cost in pairs) > _LIMIT:
            raise ValueError("exact_top_k: got 2**31 or more scores, allowed: fewer")
    if not groups:
        return []
    wanted = jnp.maximum(jnp.stack([jnp.asarray(n, jnp.int32) for n in k]), 0)
    allowed = None if where is None else list(where)
    return _selected(groups, wanted, list(keys), allowed, tuple(jax.tree.leaves(each)), over)


@functools.partial(jax.jit, static_argnames=("costs", "over"))  # traced once per set of shapes
def _selected(
    groups: list[Any], wanted: jax.Array, keys: list[jax.Array], where: list[Any] | None,
    costs: tuple[int, ...], over: bool,
) -> list[Any]:  # fmt: skip
    """Returns the masks of `exact_top_k_each`; `costs` has one entry per leaf of all groups."""
    each = jax.tree.unflatten(jax.tree.structure(groups), costs)
    bits = jax.tree.map(order_bits, groups)
    if where is not None:
        bits = jax.tree.map(lambda b, ok: jnp.where(ok, b, jnp.uint32(0)), bits, where)
    cut, above, fits = _threshold(bits, wanted, each)
    least = jnp.maximum(cut, 1)  # 0 marks elements that cannot be selected; no score is 1

    def clear() -> list[Any]:
        return _by_group(lambda t, b: b >= t, least, bits)

    def contested() -> list[Any]:
        numbers = [_tie_breakers(group, key) for group, key in zip(groups, keys, strict=True)]
        numbers = _by_group(lambda t, b, n: jnp.where(b == t, n, 0), least, bits, numbers)
        limit, _, last = _threshold(numbers, wanted - above, each)

        def chosen(own: tuple[jax.Array, ...], b: jax.Array, n: jax.Array) -> jax.Array:
            t, limit, last = own  # `last`: whether the only element at the limit is selected
            return (b > t) | ((b == t) & ((n > limit) | ((n == limit) & last)))

        return _by_group(chosen, zip(least, limit, last | over, strict=True), bits, numbers)

    return lax.cond(jnp.all(fits), clear, contested)


def _by_group(f: Callable[..., jax.Array], own: Iterable[Any], *groups: list[Any]) -> list[Any]:
    """Returns `f(own, leaf, …)` for each leaf of each group."""
    return [
        jax.tree.map(functools.partial(f, one), *trees)
        for one, *trees in zip(own, *groups, strict=True)
    ]


def _tie_breakers(tree: Any, key: jax.Array) -> Any:
    leaves, treedef = jax.tree.flatten(tree)
    offsets = [sum(leaf.size for leaf in leaves[:i]) for i in range(len(leaves))]
    found = [scramble(leaf.shape, o, key) for leaf, o in zip(leaves, offsets, strict=True)]
    return jax.tree.unflatten(treedef, found)


def n_of_m(n: int, m: int, axes: AxesTable | None = None) -> Select:
    """N:M sparsity as a selection: keeps the n highest of every m neighbouring inputs.

    Args:
      n, m: Numbers of kept weights and of all weights in a group.
      axes: `Axes` by path glob. A leaf with one axis has its inputs along it.

    Returns:
      `select(scores, k, key, where=None) → masks`; k is ignored. Exactly n are True in each group,
      or fewer where scores are NaN or `where` is False.

    Raises:
      ValueError: If 1 <= n <= m does not hold, or (on use) if m does not divide an axis.
    """
    if not 1 <= n <= m:
        raise ValueError(f"n_of_m: got {n}:{m}, allowed: 1 <= n <= m")

    def chosen(path: tuple, scores: jax.Array, tie_breakers: jax.Array) -> jax.Array:
        if scores.ndim < 2:
            return _n_of_m_leaf(scores, tie_breakers, n, m, -1)
        at = sides(path_name(path), scores.ndim, axes)
        found = _n_of_m_leaf(canonical(scores, at), canonical(tie_breakers, at), n, m, -2)
        return restored(found, at, scores.shape)

    def select(scores: Any, k: jax.Array | int, key: jax.Array, where: Any = None) -> Any:
        del k
        if where is not None:
            scores = jax.tree.map(lambda s, w: jnp.where(w, s, jnp.nan), scores, where)
        return jax.tree.map_with_path(chosen, scores, _tie_breakers(scores, key))

    return select


def _n_of_m_leaf(
    scores: jax.Array, tie_breakers: jax.Array, n: int, m: int, axis: int
) -> jax.Array:
    if scores.shape[axis] % m:
        raise ValueError(f"n_of_m: got an axis of {scores.shape[axis]}, allowed: a multiple of {m}")

    def group(x: jax.Array) -> jax.Array:
        last = jnp.moveaxis(x, axis, -1)
        return last.reshape(*last.shape[:-1], -1, m)

    bits, tie_breakers = group(order_bits(scores)), group(tie_breakers)
    mine, other = bits[..., :, None], bits[..., None, :]
    beaten = (other > mine) | (
        (other == mine) & (tie_breakers[..., None, :] > tie_breakers[..., :, None])
    )
    keep = (jnp.sum(beaten, -1) < n) & (bits > 0)
    flat = keep.reshape(*keep.shape[:-2], -1)
    return jnp.moveaxis(flat, -1, axis)


def blocks(shape: tuple[int, int], axes: AxesTable | None = None) -> Select:
    """Block sparsity as a selection: keeps or prunes whole blocks of inputs × outputs.

    Args:
      shape: (inputs, outputs) of a block.
      axes: `Axes` by path glob.

    Returns:
      `select(scores, k, key, where=None) → masks`: the blocks of highest mean score, k elements in
      total, rounded down to whole blocks. A block is selected only if `where` is True for all its
      elements.

    Raises:
      ValueError: If a block has no element, or (on use) if its side does not divide an axis.
    """
    rows, columns = shape
    if min(shape) < 1:
        raise ValueError(f"blocks: got {shape}, allowed: sides of 1 or more")

    def pool(x: jax.Array, reduce: Callable[..., jax.Array]) -> jax.Array:
        *rest, height, width = x.shape
        if height % rows or width % columns:
            raise ValueError(f"blocks: got a leaf of {x.shape}, allowed: multiples of {shape}")
        return reduce(
            x.reshape(*rest, height // rows, rows, width // columns, columns), axis=(-3, -1)
        )

    def spread(x: jax.Array) -> jax.Array:
        return jnp.repeat(jnp.repeat(x, rows, -2), columns, -1)

    def select(scores: Any, k: jax.Array | int, key: jax.Array, where: Any = None) -> Any:
        def own(path: tuple, leaf: jax.Array) -> jax.Array:
            return canonical(leaf, sides(path_name(path), leaf.ndim, axes))

        def whole(path: tuple, leaf: jax.Array, chosen: jax.Array) -> jax.Array:
            return restored(spread(chosen), sides(path_name(path), leaf.ndim, axes), leaf.shape)

        def mean(path: tuple, s: jax.Array) -> jax.Array:
            return pool(own(path, s).astype(jnp.float32), jnp.mean)

        means = jax.tree.map_with_path(mean, scores)
        allowed = (
            None
            if where is None
            else jax.tree.map_with_path(lambda path, w: pool(own(path, w), jnp.all), where)
        )
        chosen = exact_top_k(means, jnp.asarray(k) // (rows * columns), key, allowed)
        return jax.tree.map_with_path(whole, scores, chosen)

    return select
