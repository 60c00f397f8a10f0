"""Selection of exactly the k highest scores of a pytree, unstructured or structured.

The k-th highest score is found digit by digit in the bits of the float32 scores: a fixed number
of passes over the scores, each of which counts those above several thresholds (8 passes of 15, on a
CPU 16 of 3). Counts are summed over leaves, so nothing is concatenated or sorted, and sharded
leaves exchange a few integers per pass. Ties are broken by a second such search over a bijective
hash of (index, seed): exactly k, and unbiased.
"""

import functools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from gpnas.masks.axes import AxesTable, canonical, restored, sides
from gpnas.masks.tree import path_name

#: A selection of the signature of `exact_top_k`.
Select = Callable[..., Any]


def order_bits(scores: jax.Array) -> jax.Array:
    """Unsigned integers in the order of the scores.

    Args:
      scores: Any shape; float, or anything that float32 holds.

    Returns:
      uint32 of the same shape; 0 only for NaN; the same for -0.0 and 0.0.
    """
    bits = lax.bitcast_convert_type(scores.astype(jnp.float32), jnp.uint32)
    size = bits & 0x7FFFFFFF  # on bits: arithmetic may flush subnormal numbers to zero
    negative = (bits > size) & (size > 0)
    order = jnp.where(negative, ~bits, size | jnp.uint32(1 << 31))
    return jnp.where(size > 0x7F800000, jnp.uint32(0), order)


def scramble(shape: tuple[int, ...], offset: int, key: jax.Array) -> jax.Array:
    """A pseudorandom uint32 per element, each different: a bijection of the index, by `key`.

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
    """A bijection of uint32: the finalizer of murmur3, once per () uint32 seed."""
    for seed in seeds:
        x = x ^ seed
        x = (x ^ (x >> 16)) * jnp.uint32(0x85EBCA6B)
        x = (x ^ (x >> 13)) * jnp.uint32(0xC2B2AE35)
        x = x ^ (x >> 16)
    return x


def _cost_from(
    leaves: list[jax.Array], thresholds: list[jax.Array], costs: Sequence[int]
) -> list[jax.Array]:
    """() int32 for each threshold, the cost of the elements of uint32 leaves that reach it.

    One reduction of many operands per leaf, so that XLA reads the leaf once for all of them.
    """
    zeros = [jnp.int32(0)] * len(thresholds)

    def add(a: list[jax.Array], b: list[jax.Array]) -> list[jax.Array]:
        return [x + y for x, y in zip(a, b, strict=True)]

    def one(leaf: jax.Array, cost: int) -> list[jax.Array]:
        reached = [(leaf >= t).astype(jnp.int32) for t in thresholds]
        counts = lax.reduce(reached, zeros, add, tuple(range(leaf.ndim)))
        return counts if cost == 1 else [count * cost for count in counts]

    return functools.reduce(add, map(one, leaves, costs), zeros)


def _bits_per_pass() -> int:
    """Bits found by one pass, a divisor of 32: few passes, unless counting costs more than reading.

    Results do not depend on it. See `top_k_ratio_25m` in experiments/benchmarks.
    """
    return 2 if jax.default_backend() == "cpu" else 4


def _threshold(
    leaves: list[jax.Array], k: jax.Array, costs: Sequence[int]
) -> tuple[jax.Array, jax.Array]:
    """The largest uint32 t that elements of a total cost of at least k reach, and that cost.

    It is (0, 0) if all elements together cost less.

    The number of passes does not depend on the values: a GPU returns to the host for each turn of
    a loop that does.
    """
    bits = _bits_per_pass()

    def digit(i: jax.Array, carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        threshold, found = carry
        shift = (32 - bits * (i + 1)).astype(jnp.uint32)
        trials = [threshold | (jnp.uint32(d) << shift) for d in range(1, 2**bits)]
        for trial, cost in zip(trials, _cost_from(leaves, trials, costs), strict=True):
            enough = cost >= k  # and so at all trials before
            threshold = jnp.where(enough, trial, threshold)
            found = jnp.where(enough, cost, found)
        return threshold, found

    return lax.fori_loop(0, 32 // bits, digit, (jnp.uint32(0), jnp.int32(0)))


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
      scores: An array or a pytree of arrays, any float dtype; all leaves compete. NaN is never
        selected; -inf may be.
      k: () int, may be traced; clipped to the number of elements that can be selected.
      key: Random key that breaks ties.
      where: Bool pytree of the same structure; elements that are False are never selected.
      costs: Pytree of the same structure, for each leaf the cost of one of its elements, a positive
        int; k is then a cost. The highest scores are selected until the next one would exceed k.
      over: With costs, whether that one is selected, too, unless the sum is k.

    Returns:
      Bool masks of the scores' structure and shapes, with exactly k True; with costs, of a total
      cost of at most k (with `over`, less than k plus the cost of one element).

    Raises:
      ValueError: For 2³¹ or more elements, or a cost of as much, in all.
    """
    leaves, treedef = jax.tree.flatten(scores)
    each = [1] * len(leaves) if costs is None else jax.tree.leaves(costs)
    if sum(leaf.size * cost for leaf, cost in zip(leaves, each, strict=True)) >= 2**31:
        raise ValueError("exact_top_k: got 2**31 or more scores, allowed: fewer")
    allowed = None if where is None else jax.tree.leaves(where)
    k = jnp.maximum(jnp.asarray(k, jnp.int32), 0)
    return jax.tree.unflatten(treedef, _chosen(leaves, k, key, allowed, tuple(each), over))


@functools.partial(jax.jit, static_argnames=("costs", "over"))  # leaves of the same shapes share it
def _chosen(
    leaves: list[jax.Array],
    k: jax.Array,
    key: jax.Array,
    allowed: list[jax.Array] | None,
    costs: tuple[int, ...],
    over: bool,
) -> list[jax.Array]:
    """The masks of `exact_top_k`."""
    bits = [order_bits(leaf) for leaf in leaves]
    if allowed is not None:
        bits = [jnp.where(ok, b, jnp.uint32(0)) for ok, b in zip(allowed, bits, strict=True)]
    cut, found = _threshold(bits, k, costs)

    def clear() -> list[jax.Array]:
        least = jnp.maximum(cut, 1)  # 0 is what cannot be selected
        return [b >= least for b in bits]

    def contested() -> list[jax.Array]:
        tie_breakers = [
            jnp.where(b == cut, n, 0) for b, n in zip(bits, _tie_breakers(leaves, key), strict=True)
        ]
        left = k - _cost_from(bits, [cut + 1], costs)[0]
        limit, reached = _threshold(tie_breakers, left, costs)
        last = over | (reached <= left)  # whether the only element at the limit is selected
        return [
            (b > cut) | ((b == cut) & ((n > limit) | ((n == limit) & last)))
            for b, n in zip(bits, tie_breakers, strict=True)
        ]

    return lax.cond(found <= k, clear, contested)


def _tie_breakers(leaves: list[jax.Array], key: jax.Array) -> list[jax.Array]:
    offsets = [sum(leaf.size for leaf in leaves[:i]) for i in range(len(leaves))]
    return [scramble(leaf.shape, o, key) for leaf, o in zip(leaves, offsets, strict=True)]


def n_of_m(n: int, m: int, axes: AxesTable | None = None) -> Select:
    """N:M sparsity as a selection: the n highest of every m neighbouring inputs.

    Args:
      n, m: Kept weights, and size of a group.
      axes: `Axes` by path glob. A leaf of one axis has its inputs along it.

    Returns:
      `select(scores, k, key, where=None) → masks`; k is ignored. Exactly n are True in each group,
      fewer only where scores are NaN or `where` is False.

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
        leaves, treedef = jax.tree.flatten(scores)
        tie_breakers = jax.tree.unflatten(treedef, _tie_breakers(leaves, key))
        return jax.tree.map_with_path(chosen, scores, tie_breakers)

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
      total, rounded down to whole blocks. A block is selected only if `where` is True for all of
      it.

    Raises:
      ValueError: (on use) If a block's side does not divide an axis.
    """
    rows, columns = shape

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
