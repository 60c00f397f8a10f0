"""Development that grows weights by other estimates of the decrease of the loss."""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from configs import dense
from experiments.studies.coupling.rivals import DECAY, with_scores
from gpnas.data import standardize
from gpnas.masks import MaskContext, score
from gpnas.train import load_data

_FIRST = "Dense_0/kernel"
_INPUTS = 64  # active inputs of a unit that are considered, those of largest weight
RIDGE = 0.01  # of the mean variance of an input

Scores = tuple[score.Score, score.Score]


def _by_wholes(batch_size: int) -> Scores:
    """V is averaged over the inactive weights of the input, and of the unit."""
    gain = score.growth_gain(DECAY, batch_size)

    def value(kept: Mapping[str, Any], ctx: MaskContext) -> Any:
        return {p: mean_of_sides(v, ctx.params[p]) for p, v in gain.value(kept, ctx).items()}

    return score.magnitude(), score.Score(f"wholes {gain.name}", gain.statistics, value)


def mean_of_sides(values: jax.Array, weights: jax.Array) -> jax.Array:
    """Returns the mean over the inactive weights of the input, plus that of the unit.

    Args:
      values: (inputs, units), float.
      weights: (inputs, units), zero where inactive.
    """
    inactive = weights == 0
    of_unit, of_input = (
        jnp.sum(jnp.where(inactive, values, 0), axis, keepdims=True)
        / jnp.maximum(jnp.sum(inactive, axis, keepdims=True), 1)
        for axis in (0, 1)
    )
    return of_unit + of_input


def _without_redundancy(batch_size: int) -> Scores:
    """V of the first layer is the gain if the unit's active weights adapt as well."""
    gain = score.growth_gain(DECAY, batch_size)

    def value(kept: Mapping[str, Any], ctx: MaskContext) -> Any:
        seen, covariance = score.bias_correction(DECAY, kept), jnp.asarray(pixel_covariance())
        slopes = kept[f"gradient@{DECAY}"][_FIRST] / seen
        fisher = batch_size * kept[f"gradient²@{DECAY}"][_FIRST] / seen
        scale = jnp.sum(fisher, 0) / jnp.trace(covariance)
        adapted = residual_gain(ctx.params[_FIRST], slopes, scale, covariance)
        return {**gain.value(kept, ctx), _FIRST: adapted}

    return score.magnitude(), score.Score(f"residual {gain.name}", gain.statistics, value)


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


grown_by_wholes = with_scores(_by_wholes)
grown_without_redundancy = with_scores(_without_redundancy)
