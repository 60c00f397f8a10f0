"""Scores: what a weight is worth, alive or dormant.

A score names the running statistics that it needs (an average of the gradient, say) and turns them
into values at an event. Statistics are shared by name: two scores that ask for the same average of
the same thing pay for it once. Every function here works on any pytree of arrays.

`removal_cost` and `growth_gain` are one currency: both estimate a change of the loss from its local
quadratic, L(w + δ) ≈ L + gδ + ½Fδ², so that the worth of a living and of a dormant weight compare.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gpnas.masks import tree
from gpnas.masks.finite import are_finite
from gpnas.masks.transform import MaskContext, sometimes
from gpnas.masks.tree import wide

Values = Any
_SEEN = "observations"


class Statistic(NamedTuple):
    """A running quantity: `init(params) → value`, `update(statistics, context) → value`."""

    init: Callable[[Any], Any]
    update: Callable[[Mapping[str, Any], MaskContext], Any]


class Score(NamedTuple):
    """A score of parameters.

    Attributes:
      name: Unique for what it computes, constants included.
      statistics: What must be kept at every step, by name; later ones may read earlier ones.
      value: `(statistics, context) → scores`, float, of the params' structure and shapes.
    """

    name: str
    statistics: Mapping[str, Statistic]
    value: Callable[[Mapping[str, Any], MaskContext], Values]


def start(scores: tuple[Score, ...], params: Any) -> dict[str, Any]:
    """The statistics of all the scores before the first step, each once; `{}` if none is needed."""
    kept = {n: s.init(params) for score in scores for n, s in score.statistics.items()}
    return kept | {_SEEN: jnp.float32(0)} if kept else {}


def observe(scores: tuple[Score, ...], kept: Mapping[str, Any], ctx: MaskContext) -> dict[str, Any]:
    """The statistics of all the scores after one more step; non-finite steps are skipped."""
    return _observe(scores, kept, ctx)[0]


def _observe(
    scores: tuple[Score, ...], kept: Mapping[str, Any], ctx: MaskContext
) -> tuple[dict[str, Any], jax.Array | bool]:
    if not kept:
        return {}, True
    fine = are_finite(ctx.grads)
    new = dict(kept) | {_SEEN: kept[_SEEN] + 1}
    for name, statistic in {n: s for score in scores for n, s in score.statistics.items()}.items():
        new[name] = statistic.update(new, ctx)
    return jax.tree.map(lambda a, b: jnp.where(fine, a, b), new, dict(kept)), fine


def observe_before(
    scores: tuple[Score, ...],
    kept: dict[str, Any],
    ctx: MaskContext,
    every: int,
    window: int | None,
) -> tuple[dict[str, Any], jax.Array | bool]:
    """`observe`, in the last `window` steps before a multiple of `every` only; None for always.

    Returns:
      The statistics, and whether the gradients were finite; True where none was looked at.
    """
    if not kept or window is None or window >= every:
        return _observe(scores, kept, ctx)
    now = (-ctx.step) % every < window
    start = (kept, jnp.ones((), bool))
    return sometimes(now, lambda x: _observe(scores, x[0], ctx), start)


def _zeros(params: Any) -> Any:
    return jax.tree.map(lambda p: jnp.zeros(p.shape, jnp.float32), params)


def _average(
    name: str, decay: float, look: Callable[[Mapping[str, Any], MaskContext], Any]
) -> Statistic:
    def update(kept: Mapping[str, Any], ctx: MaskContext) -> Any:
        def blend(mean: jax.Array, x: jax.Array) -> jax.Array:
            return decay * mean + (1 - decay) * x.astype(mean.dtype)

        return jax.tree.map(blend, kept[name], look(kept, ctx))

    return Statistic(_zeros, update)


def unbiased(decay: float, kept: Mapping[str, Any]) -> jax.Array:
    """What an average that began at zero must be divided by; 1 before the first look."""
    return jnp.where(kept[_SEEN] > 0, 1 - decay ** kept[_SEEN], 1.0)


def mean_gradient(decay: float) -> dict[str, Statistic]:
    """ḡ, the exponential moving average of the dense gradient."""
    name = f"gradient@{decay}"
    return {name: _average(name, decay, lambda kept, ctx: ctx.grads)}


def mean_square(decay: float) -> dict[str, Statistic]:
    """G₂, the exponential moving average of the squared dense gradient."""
    name = f"gradient²@{decay}"

    def look(kept: Mapping[str, Any], ctx: MaskContext) -> Any:
        return jax.tree.map(lambda g: jnp.square(wide(g)), ctx.grads)

    return {name: _average(name, decay, look)}


def magnitude() -> Score:
    """|w|: cheap, and hard to beat as a reason to drop."""
    return Score("magnitude", {}, lambda kept, ctx: jax.tree.map(jnp.abs, ctx.params))


def gradient() -> Score:
    """|g| of this step's batch, as RigL grows by (arXiv:1911.11134)."""
    return Score("gradient", {}, lambda kept, ctx: jax.tree.map(jnp.abs, ctx.grads))


def taylor() -> Score:
    """|w·g|, the first-order change of the loss on removal; SNIP's sensitivity (1810.02340)."""

    def value(kept: Mapping[str, Any], ctx: MaskContext) -> Values:
        return jax.tree.map(lambda w, g: jnp.abs(wide(w) * wide(g)), ctx.params, ctx.grads)

    return Score("taylor", {}, value)


def momentum(decay: float = 0.9) -> Score:
    """|ḡ|, the size of the mean gradient: sparse momentum's reason to grow (arXiv:1907.04840)."""

    def value(kept: Mapping[str, Any], ctx: MaskContext) -> Values:
        return jax.tree.map(jnp.abs, kept[f"gradient@{decay}"])

    return Score(f"momentum@{decay}", mean_gradient(decay), value)


def random() -> Score:
    """Uniform in [0, 1), new at every event, one key a leaf."""

    def value(kept: Mapping[str, Any], ctx: MaskContext) -> Values:
        flat, treedef = jax.tree_util.tree_flatten_with_path(ctx.params)
        leaves = {tree.path_name(path): leaf for path, leaf in flat}
        keys = tree.keys_for(ctx.key, leaves)
        drawn = [jax.random.uniform(keys[path], leaf.shape) for path, leaf in leaves.items()]
        return jax.tree.unflatten(treedef, drawn)

    return Score("random", {}, value)


def fisher(decay: float = 0.99, batch_size: int = 1) -> Score:
    """½Fw² with the empirical Fisher F = B·G₂: the cost of removal at an optimum.

    Args:
      decay: Of the moving average.
      batch_size: B, examples a gradient is the mean of; G₂ of a mean is about F / B.

    References:
      Theis et al. 2018 (arXiv:1801.05787); LeCun et al. 1989, Optimal Brain Damage.
    """

    def value(kept: Mapping[str, Any], ctx: MaskContext) -> Values:
        scale = 0.5 * batch_size / unbiased(decay, kept)
        squares = kept[f"gradient²@{decay}"]
        return jax.tree.map(lambda w, s: scale * s * wide(w) ** 2, ctx.params, squares)

    return Score(f"fisher@{decay},{batch_size}", mean_square(decay), value)


def removal_cost(decay: float = 0.9, batch_size: int = 1) -> Score:
    """U = |ḡ·w| + ½Fw², what removing a living weight would add to the loss.

    Args:
      decay: Of the moving averages.
      batch_size: B in F = B·G₂.
    """
    curvature = fisher(decay, batch_size)

    def value(kept: Mapping[str, Any], ctx: MaskContext) -> Values:
        scale = 1 / unbiased(decay, kept)
        bends = curvature.value(kept, ctx)
        slopes = kept[f"gradient@{decay}"]

        def leaf(w: jax.Array, g: jax.Array, b: jax.Array) -> jax.Array:
            return jnp.abs(scale * g * wide(w)) + b

        return jax.tree.map(leaf, ctx.params, slopes, bends)

    return Score(f"U@{decay},{batch_size}", mean_gradient(decay) | mean_square(decay), value)


def growth_gain(
    decay: float = 0.9, batch_size: int = 1, epsilon: float = 1e-8, denoise: bool = False
) -> Score:
    """V = [ḡ² − s²/n]₊ / 2(F + ε), the most that waking a dormant weight could take off the loss.

    Args:
      decay: Of the moving averages.
      batch_size: B in F = B·G₂.
      epsilon: Keeps weights whose gradient is always zero at V = 0.
      denoise: Whether to subtract s²/n, the part of ḡ² that gradient noise alone would give: with
        G₂ − ḡ² = s²(1 − 1/n), where n steps are in the average, (1 + decay) / (1 − decay) in the
        long run.
    """

    def value(kept: Mapping[str, Any], ctx: MaskContext) -> Values:
        seen = unbiased(decay, kept)
        noise = (1 - decay) / (1 + decay) * (2 - seen) / seen  # 1/n

        def leaf(g: jax.Array, s: jax.Array) -> jax.Array:
            g, s = g / seen, s / seen
            signal = g**2
            if denoise:
                spread = jnp.maximum(s - signal, 0)
                signal = jnp.maximum(signal - spread * noise / jnp.maximum(1 - noise, 1e-6), 0)
            return signal / (2 * (batch_size * s + epsilon))

        return jax.tree.map(leaf, kept[f"gradient@{decay}"], kept[f"gradient²@{decay}"])

    name = f"V@{decay},{batch_size},{epsilon},{denoise}"
    return Score(name, mean_gradient(decay) | mean_square(decay), value)


def ema(score: Score, decay: float = 0.9) -> Score:
    """The exponential moving average of any score, looked at in every step.

    Args:
      score: The score to smooth; its own statistics are kept as well.
      decay: Weight of the past, in [0, 1).
    """
    name = f"ema({score.name})@{decay}"

    def value(kept: Mapping[str, Any], ctx: MaskContext) -> Values:
        return jax.tree.map(lambda m: m / unbiased(decay, kept), kept[name])

    return Score(name, {**score.statistics, name: _average(name, decay, score.value)}, value)


def per_cost(score: Score, costs: Mapping[str, float]) -> Score:
    """A score per unit of cost, on params that are a dict by path (as `plasticity` gives them).

    Args:
      score: The score to divide.
      costs: Cost of one weight (MACs, bytes, seconds) by path glob; 1 where no glob matches. A
        plain name may be of a leaf that is absent.

    Raises:
      ValueError: When evaluated, if a glob matches no leaf.
    """
    globs = tree.globs_of(costs)

    def value(kept: Mapping[str, Any], ctx: MaskContext) -> Values:
        values = score.value(kept, ctx)
        tree.check_globs("costs", globs, values)
        return {path: v / tree.lookup(costs, path, 1.0) for path, v in values.items()}

    return Score(f"{score.name}/cost", score.statistics, value)
