"""Development that grows weights by other estimates of the decrease of the loss."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from configs import dense
from experiments.studies.coupling.rivals import Curve, on_curve
from gpnas.data import standardize
from gpnas.masks import MaskContext, allocate, score
from gpnas.methods import Method
from gpnas.train import load_data

_DECAY = 0.9  # of the averages of gradients, as in development
_FIRST = "Dense_0/kernel"
_INPUTS = 64  # active inputs of a unit that are considered, those of largest weight
RIDGE = 0.01  # of the mean variance of an input

Gains = Mapping[str, jax.Array]


def _grown_by(change: Callable[[Gains, Mapping[str, Any], MaskContext], Gains]) -> Callable:
    """Returns a method with the settings of development, and a change of V."""

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
        gain = score.growth_gain(_DECAY, batch_size)

        def value(kept: Mapping[str, Any], ctx: MaskContext) -> Any:
            seen = score.bias_correction(_DECAY, kept)
            means = {
                "gradient": kept[f"gradient@{_DECAY}"][_FIRST] / seen,
                "fisher": batch_size * kept[f"gradient²@{_DECAY}"][_FIRST] / seen,
            }
            return change(gain.value(kept, ctx), means, ctx)

        grow = score.Score(f"{change.__name__} {gain.name}", gain.statistics, value)
        curve = Curve(density, total_steps, peak, churn, every, window)
        return on_curve(curve, score.magnitude(), grow, allocation)

    return method


def by_wholes(gains: Gains, means: Mapping[str, Any], ctx: MaskContext) -> Gains:
    """Replaces V by its mean over the inactive weights of the input, plus that of the unit."""
    del means

    def leaf(v: jax.Array, w: jax.Array) -> jax.Array:
        inactive = w == 0
        sides = [
            jnp.sum(jnp.where(inactive, v, 0), axis, keepdims=True)
            / jnp.maximum(jnp.sum(inactive, axis, keepdims=True), 1)
            for axis in (0, 1)
        ]
        return sides[0] + sides[1] + 0 * v

    return {path: leaf(v, ctx.params[path]) for path, v in gains.items()}


def without_redundancy(gains: Gains, means: Mapping[str, Any], ctx: MaskContext) -> Gains:
    """Replaces V of the first layer by the gain if the unit's active weights adapt as well."""
    weights, covariance = ctx.params[_FIRST], jnp.asarray(pixel_covariance())
    scale = jnp.sum(means["fisher"], 0) / jnp.trace(covariance)
    adapted = residual_gain(weights, means["gradient"], scale, covariance)
    return {**gains, _FIRST: adapted}


def residual_gain(
    weights: jax.Array, slopes: jax.Array, scale: jax.Array, covariance: jax.Array
) -> jax.Array:
    """Estimated decrease of the loss per grown weight, if the unit's active weights adapt to it.

    The Hessian of a unit is `scale` times the covariance C of its inputs, as in K-FAC. With active
    inputs A, the gain of input i is (g_i − C_iA C_AA⁻¹ g_A)² / 2·scale·(C_ii − C_iA C_AA⁻¹ C_Ai).

    Args:
      weights: (inputs, units), zero where inactive.
      slopes: (inputs, units), mean gradients g.
      scale: (units,), mean squared gradients of the units' preactivations.
      covariance: (inputs, inputs).

    Returns:
      (inputs, units).
    """
    most, size = min(_INPUTS, len(weights)), len(weights)
    ridge = RIDGE * jnp.trace(covariance) / size
    variances = jnp.diag(covariance) + ridge

    def unit(w: jax.Array, g: jax.Array, s: jax.Array) -> jax.Array:
        largest, at = jax.lax.top_k(jnp.abs(w), most)
        used = largest > 0
        rows = jnp.where(used[:, None], covariance[at], 0)  # C_A·
        among = jnp.where(used, rows[:, at], 0) + jnp.diag(jnp.where(used, ridge, 1.0))
        solved = jnp.linalg.inv(among) @ rows  # C_AA⁻¹ C_A·
        residual = g - solved.T @ jnp.where(used, g[at], 0)
        left = jnp.maximum(variances - jnp.sum(rows * solved, 0), ridge)
        return residual**2 / (2 * (s * left + 1e-8))

    return jax.vmap(unit, out_axes=1)(weights.T, slopes.T, scale)


@functools.cache
def pixel_covariance() -> np.ndarray:
    """Returns the covariance of the standardized training images of Fashion-MNIST, (784, 784)."""
    config = dense.get_config()
    config.data.name = "fashion_mnist"
    data = load_data(config)
    pixels = np.asarray(standardize(data.train.inputs, data)).reshape(len(data.train), -1)
    return np.cov(pixels, rowvar=False).astype(np.float32)


#: Weights of the pixels and units whose inactive weights have the highest mean V.
grown_by_wholes = _grown_by(by_wholes)
#: V of the first layer, less what the unit's active inputs explain.
grown_without_redundancy = _grown_by(without_redundancy)
