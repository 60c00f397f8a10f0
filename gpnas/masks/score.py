"""Scores of weights, active or inactive.

A score declares the running statistics that it needs, for example a moving average of the gradient,
and computes values from them at a mask update. Scores share statistics of the same name. All
functions work on any pytree of arrays.

`removal_cost` and `growth_gain` are in the same unit, that of the loss: both estimate a change of
the loss by the local quadratic model L(w + δ) ≈ L + gδ + ½Fδ², so that active and inactive weights
are comparable.
"""

import zlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gpnas.masks import tree
from gpnas.masks._transform import MaskContext, cond_inplace
from gpnas.masks.allocate import check_costs
from gpnas.masks.finite import are_finite
from gpnas.masks.schedule import Schedule, always, check_steps, never
from gpnas.masks.tree import wide

#: A float pytree of the params' structure and shapes.
Values = Any
_SEEN = "observations"


class Statistic(NamedTuple):
    """A running statistic: `init(params) → value`, `update(statistics, context) → value`."""

    init: Callable[[Any], Any]
    update: Callable[[Mapping[str, Any], MaskContext], Any]


class Score(NamedTuple):
    """A score of parameters.

    Attributes:
      name: Identifies the computation, including constants.
      statistics: Running statistics by name, updated at every step, or at those of a window (see
        `plasticity`); later ones may read earlier ones.
      value: `(statistics, context) → scores`, float, of the params' structure and shapes.
      side: Of a score of units, the side whose entries it reads, see `gpnas.units.score`; empty for
        a score that reads none.
    """

    name: str
    statistics: Mapping[str, Statistic]
    value: Callable[[Mapping[str, Any], MaskContext], Values]
    side: str = ""


def init_statistics(scores: tuple[Score, ...], params: Any) -> dict[str, Any]:
    """Returns the initial statistics of all scores, each once; `{}` if there are none.

    Args:
      scores: Scores that share statistics by name.
      params: `{path: weight}` of the masked leaves.
    """
    kept = {n: s.init(params) for score in scores for n, s in score.statistics.items()}
    return kept | {_SEEN: jnp.float32(0)} if kept else {}


def observe(
    scores: tuple[Score, ...], kept: Mapping[str, Any], ctx: MaskContext
) -> tuple[dict[str, Any], jax.Array | bool]:
    """Updates the statistics of all scores for one step; skips non-finite gradients.

    Args:
      scores: As in `init_statistics`.
      kept: Statistics before the step.
      ctx: Context of the step.

    Returns:
      The statistics after the step, and () bool, whether the gradients were finite; True if there
      are no statistics.
    """
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
    """Updates the statistics in the `window` steps that end at a multiple of `every`.

    Args:
      scores, kept, ctx: As in `observe`.
      every: Steps between mask updates.
      window: Number of steps, with that of the mask update; None: all steps.

    Returns:
      The statistics, and whether the gradients were finite; True where they were not checked.
    """
    if not kept or window is None or window >= every:
        return observe(scores, kept, ctx)
    now = _in_window(every, window)(ctx.step)
    start = (kept, jnp.ones((), bool))
    if not ctx.branches:
        return jax.tree.map(lambda a, b: jnp.where(now, a, b), observe(scores, kept, ctx), start)
    return cond_inplace(now, lambda x: observe(scores, x[0], ctx), start)


def observed(scores: tuple[Score, ...], every: int, window: int | None) -> Schedule:
    """Returns `step → () bool`, the steps at which `observe_before` changes statistics.

    Raises:
      ValueError: If `every` or `window` is below 1.
    """
    check_steps("every", every)
    check_steps("window", 1 if window is None else window)
    if not any(score.statistics for score in scores):
        return never
    return always if window is None or window >= every else _in_window(every, window)


def _in_window(every: int, window: int) -> Schedule:
    return lambda step: (-step) % every < window


def _zeros(params: Any) -> Any:
    return jax.tree.map(lambda p: jnp.zeros(p.shape, jnp.float32), params)


def _average(
    name: str, decay: float, observed: Callable[[Mapping[str, Any], MaskContext], Any]
) -> Statistic:
    if not 0 <= decay < 1:
        raise ValueError(f"{name}: got a decay of {decay}, allowed: [0, 1)")

    def update(kept: Mapping[str, Any], ctx: MaskContext) -> Any:
        def blend(mean: jax.Array, x: jax.Array) -> jax.Array:
            return decay * mean + (1 - decay) * x.astype(mean.dtype)

        return jax.tree.map(blend, kept[name], observed(kept, ctx))

    return Statistic(_zeros, update)


def bias_correction(decay: float, kept: Mapping[str, Any]) -> jax.Array:
    """Returns the bias-correction divisor of an average that starts at zero; 1 before any step."""
    return jnp.where(kept[_SEEN] > 0, 1 - decay ** kept[_SEEN], 1.0)


def mean_gradient(decay: float) -> dict[str, Statistic]:
    """Returns {name: statistic ḡ}: exponential moving average of the dense gradient.

    Args:
      decay: Decay of the moving average, in [0, 1).

    Raises:
      ValueError: If `decay` is out of range.
    """
    name = f"gradient@{decay}"
    return {name: _average(name, decay, lambda kept, ctx: ctx.grads)}


def mean_square(decay: float) -> dict[str, Statistic]:
    """Returns {name: statistic G₂}: exponential moving average of the squared dense gradient.

    Args:
      decay: Decay of the moving average, in [0, 1).

    Raises:
      ValueError: If `decay` is out of range.
    """
    name = f"gradient²@{decay}"

    def square(kept: Mapping[str, Any], ctx: MaskContext) -> Any:
        return jax.tree.map(lambda g: jnp.square(wide(g)), ctx.grads)

    return {name: _average(name, decay, square)}


def magnitude() -> Score:
    """`|w|`, the usual score for pruning."""
    return Score("magnitude", {}, lambda kept, ctx: jax.tree.map(jnp.abs, ctx.params))


def gradient() -> Score:
    """`|g|` of this step's batch: RigL's score for growth (arXiv:1911.11134)."""
    return Score("gradient", {}, lambda kept, ctx: jax.tree.map(jnp.abs, ctx.grads))


def taylor() -> Score:
    """`|w·g|`, the first-order change of the loss on removal: SNIP's score (arXiv:1810.02340)."""

    def value(kept: Mapping[str, Any], ctx: MaskContext) -> Values:
        return jax.tree.map(lambda w, g: jnp.abs(wide(w) * wide(g)), ctx.params, ctx.grads)

    return Score("taylor", {}, value)


def momentum(decay: float = 0.9) -> Score:
    """`|ḡ|`: sparse momentum's score for growth (arXiv:1907.04840).

    Args:
      decay: Decay of the moving average ḡ, in [0, 1).

    Raises:
      ValueError: If `decay` is out of range.
    """

    def value(kept: Mapping[str, Any], ctx: MaskContext) -> Values:
        return jax.tree.map(jnp.abs, kept[f"gradient@{decay}"])

    return Score(f"momentum@{decay}", mean_gradient(decay), value)


def random() -> Score:
    """Uniform in [0, 1), drawn anew at each mask update, with one key per leaf."""

    def value(kept: Mapping[str, Any], ctx: MaskContext) -> Values:
        leaves = tree.leaves_by_path(ctx.params)
        keys = tree.keys_for(ctx.key, leaves)
        drawn = [jax.random.uniform(keys[path], leaf.shape) for path, leaf in leaves.items()]
        return jax.tree.unflatten(jax.tree.structure(ctx.params), drawn)

    return Score("random", {}, value)


def fisher(decay: float = 0.99, batch_size: int = 1) -> Score:
    """½Fw² with the empirical Fisher F = B·G₂: increase of the loss on removal, at an optimum.

    Args:
      decay: Decay of the moving average, in [0, 1).
      batch_size: B, examples per gradient; G₂ of a mean over B examples is about F / B.

    Raises:
      ValueError: If `decay` is out of range.

    References:
      Theis et al. 2018 (arXiv:1801.05787); LeCun et al. 1989, Optimal Brain Damage.
    """

    def value(kept: Mapping[str, Any], ctx: MaskContext) -> Values:
        scale = 0.5 * batch_size / bias_correction(decay, kept)
        squares = kept[f"gradient²@{decay}"]
        return jax.tree.map(lambda w, s: scale * s * wide(w) ** 2, ctx.params, squares)

    return Score(f"fisher@{decay},{batch_size}", mean_square(decay), value)


def removal_cost(decay: float = 0.9, batch_size: int = 1) -> Score:
    """`U = |ḡ·w| + ½Fw²`, estimated increase of the loss if an active weight is removed.

    Args:
      decay: Decay of the moving averages, in [0, 1).
      batch_size: B in F = B·G₂.

    Raises:
      ValueError: If `decay` is out of range.
    """
    curvature = fisher(decay, batch_size)

    def value(kept: Mapping[str, Any], ctx: MaskContext) -> Values:
        scale = 1 / bias_correction(decay, kept)
        curvatures = curvature.value(kept, ctx)
        slopes = kept[f"gradient@{decay}"]

        def leaf(w: jax.Array, g: jax.Array, b: jax.Array) -> jax.Array:
            return jnp.abs(scale * g * wide(w)) + b

        return jax.tree.map(leaf, ctx.params, slopes, curvatures)

    return Score(f"U@{decay},{batch_size}", mean_gradient(decay) | mean_square(decay), value)


def growth_gain(decay: float = 0.9, batch_size: int = 1, epsilon: float = 1e-8) -> Score:
    """V = ḡ² / (2(F + ε)), estimated decrease of the loss if an inactive weight is grown.

    Args:
      decay: Decay of the moving averages, in [0, 1).
      batch_size: B in F = B·G₂.
      epsilon: ε, positive; makes V = 0 for weights whose gradient is always zero.

    Raises:
      ValueError: If `decay` is out of range.
    """

    def value(kept: Mapping[str, Any], ctx: MaskContext) -> Values:
        seen = bias_correction(decay, kept)

        def leaf(g: jax.Array, s: jax.Array) -> jax.Array:
            g, s = g / seen, s / seen
            return g**2 / (2 * (batch_size * s + epsilon))

        return jax.tree.map(leaf, kept[f"gradient@{decay}"], kept[f"gradient²@{decay}"])

    name = f"V@{decay},{batch_size},{epsilon}"
    return Score(name, mean_gradient(decay) | mean_square(decay), value)


def ema(score: Score, decay: float = 0.9) -> Score:
    """Exponential moving average of a score, updated at the steps at which statistics are.

    Args:
      score: The score to smooth, of weights.
      decay: Decay of the moving average, in [0, 1).

    Raises:
      ValueError: If `decay` is out of range.
    """
    name = f"ema({score.name})@{decay}"

    def value(kept: Mapping[str, Any], ctx: MaskContext) -> Values:
        return jax.tree.map(lambda m: m / bias_correction(decay, kept), kept[name])

    statistics = {**score.statistics, name: _average(name, decay, score.value)}
    return score._replace(name=name, statistics=statistics, value=value)


def per_cost(score: Score, costs: Mapping[str, Any]) -> Score:
    """Divides a score by the cost of a weight or unit; the score is a dict by path or group.

    `plasticity` and `ranking` call scores of weights with such a dict, and scores of units
    (`gpnas.units.score`) return one.

    Args:
      score: The score to divide.
      costs: Cost (MACs, bytes, seconds) of one weight by path glob, or of units by glob of group
        names, as a number or (size,) numbers; 1 where no glob matches. A name without wildcards may
        name an absent leaf.

    Raises:
      ValueError: For a cost that is not positive and finite; on use, if a glob matches no leaf.
    """
    globs = tree.globs_of(costs)
    check_costs("costs", costs.values())
    listed = repr(sorted((path, np.asarray(cost).tolist()) for path, cost in costs.items()))

    def value(kept: Mapping[str, Any], ctx: MaskContext) -> Values:
        values = score.value(kept, ctx)
        tree.check_globs("costs", globs, values)
        return {path: v / tree.lookup(costs, path, 1.0) for path, v in values.items()}

    return score._replace(name=f"{score.name}/cost#{zlib.crc32(listed.encode()):08x}", value=value)
