"""Baselines that are not in the library: MEST, and other scores on development's curve."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gpnas.masks import MaskContext, allocate, plasticity, schedule, score, tree
from gpnas.methods import Forecast, Method, forecast_developmental, step_at

DECAY = 0.9  # of the averages of gradients, as in development


def mest(
    *,
    density: float,
    total_steps: int,
    extra: float = 0.05,
    fraction: float = 0.3,
    every: int,
    stop_at: float = 0.75,
    allocation: allocate.Allocation = allocate.erk(),
) -> Method:
    """MEST-EM&S: slightly above the target density, which is reached in two steps.

    Args:
      density: Final density.
      total_steps: Length of the run.
      extra: Density above the final one until 0.6 of the run; then half of it until `stop_at`.
      fraction: Initial exchanged fraction of active weights; cosine decay.
      every: Steps between mask updates.
      stop_at: Last mask update, as a fraction of the run.
      allocation: Splits the density over leaves.

    References:
      Yuan et al. 2021 (arXiv:2110.14032), section 3: pruned by |w| + 0.01·|g|, grown at random.
    """
    stop, half = step_at(stop_at, total_steps, every), step_at(0.6, total_steps, every)

    def curve(step: jax.Array) -> jax.Array:
        above = jnp.where(step < half, extra, jnp.where(step < stop, extra / 2, 0.0))
        return jnp.minimum(density + above, 1.0)

    def value(kept: Mapping[str, Any], ctx: MaskContext) -> Any:
        return jax.tree.map(lambda w, g: jnp.abs(w) + 0.01 * jnp.abs(g), ctx.params, ctx.grads)

    transform = plasticity(
        drop=score.Score("mest", {}, value),
        grow=score.random(),
        density=curve,
        churn=schedule.cosine(2 * fraction, stop),
        allocation=allocation,
        every=every,
        stop=stop + 1,
    )
    return Method(transform, Forecast(schedule.at_mask_updates(curve, every)))


def with_scores(make: Callable[[int], tuple[score.Score, score.Score]]) -> Callable[..., Method]:
    """Returns a method with development's settings and curve, and other scores.

    Args:
      make: `examples per step → (score of pruning, score of growth)`.
    """

    def method(
        *,
        density: float,
        total_steps: int,
        batch_size: int,
        peak: float = 12.0,
        churn: float = 0.3,
        every: int,
        window: int,
        allocation: allocate.Allocation = allocate.global_(),
    ) -> Method:
        curve = Curve(density, total_steps, peak, churn, every, window)
        return on_curve(curve, *make(batch_size), allocation)

    return method


def _senn(batch_size: int) -> tuple[score.Score, score.Score]:
    """Scores of SENN for a diagonal Fisher matrix.

    A weight is pruned by the increase of the loss over that at its own optimum, ½F(w − ḡ/F)², and
    grown by the decrease that its optimum brings, ½ḡ²/F.

    References:
      Mitchell et al. 2023 (arXiv:2307.04526), sections 3 and 4.
    """
    gain = score.growth_gain(DECAY, batch_size)

    def value(kept: Mapping[str, Any], ctx: MaskContext) -> Any:
        seen = score.bias_correction(DECAY, kept)

        def leaf(w: jax.Array, g: jax.Array, s: jax.Array) -> jax.Array:
            fisher = batch_size * s / seen + 1e-8
            return 0.5 * fisher * (w - g / seen / fisher) ** 2

        slopes, squares = kept[f"gradient@{DECAY}"], kept[f"gradient²@{DECAY}"]
        return jax.tree.map(leaf, ctx.params, slopes, squares)

    return score.Score(f"senn@{batch_size}", gain.statistics, value), gain


def _shuffled_gain(batch_size: int) -> tuple[score.Score, score.Score]:
    """V shuffled among the inactive weights of each layer.

    Layers grow as many weights as by V, at random positions.
    """
    gain = score.growth_gain(DECAY, batch_size)

    def value(kept: Mapping[str, Any], ctx: MaskContext) -> Any:
        values, keys = gain.value(kept, ctx), tree.keys_for(ctx.key, ctx.params)
        return {
            path: shuffle_inactive(values[path], ctx.params[path] != 0, keys[path])
            for path in values
        }

    return score.magnitude(), score.Score(f"shuffled {gain.name}", gain.statistics, value)


def shuffle_inactive(values: jax.Array, active: jax.Array, key: jax.Array) -> jax.Array:
    """Permutes the values of inactive weights among them; those of active weights become −∞.

    Args:
      values: Scores, float.
      active: Bool of the same shape.
      key: Random key.
    """
    active, places = active.ravel(), jax.random.uniform(key, (values.size,))
    ordered = -jnp.sort(-jnp.where(active, -jnp.inf, values.ravel()))
    order = jnp.argsort(jnp.where(active, jnp.inf, places))  # inactive weights first, at random
    return jnp.zeros(values.size, values.dtype).at[order].set(ordered).reshape(values.shape)


class Curve(NamedTuple):
    """Arguments of `gpnas.methods.development` that set the density curve and its updates."""

    density: float
    total_steps: int
    peak: float
    churn: float
    every: int
    window: int


def on_curve(
    own: Curve, drop: score.Score, grow: score.Score, allocation: allocate.Allocation
) -> Method:
    """Makes a method with the density curve of development and other scores."""
    stop = round(0.75 * own.total_steps)
    rise = round(0.05 * own.total_steps)
    curve = schedule.developmental(own.density, own.peak, rise, stop)
    transform = plasticity(
        drop=drop,
        grow=grow,
        density=curve,
        churn=schedule.cosine(own.churn, stop),
        allocation=allocation,
        seed_allocation=allocate.erk(),
        every=own.every,
        stop=stop + own.every,
        window=own.window,
        lookahead=own.every,
    )
    return Method(transform, forecast_developmental(curve, stop, own.every, own.window, allocation))


senn = with_scores(_senn)
shuffled_gain = with_scores(_shuffled_gain)
