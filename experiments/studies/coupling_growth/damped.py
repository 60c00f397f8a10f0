"""Development that grows weights by V with a damped Fisher information."""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from experiments.studies.coupling.rivals import DECAY, with_scores
from gpnas.masks import MaskContext, score

_EPSILON = 1e-8


def damped_gain(mean_gradient: jax.Array, fisher: jax.Array, damping: float) -> jax.Array:
    """Returns ḡ² / (2(F + λF̄)), with F̄ the mean of F over a leaf: V if λ = 0, ∝ ḡ² if λ is large.

    Args:
      mean_gradient: ḡ, float.
      fisher: F, of the same shape.
      damping: λ.
    """
    return mean_gradient**2 / (2 * (fisher + damping * jnp.mean(fisher) + _EPSILON))


def _scores(damping: float, batch_size: int) -> tuple[score.Score, score.Score]:
    gain = score.growth_gain(DECAY, batch_size)

    def value(kept: Mapping[str, Any], ctx: MaskContext) -> Any:
        seen = score.bias_correction(DECAY, kept)

        def leaf(g: jax.Array, s: jax.Array) -> jax.Array:
            return damped_gain(g / seen, batch_size * s / seen, damping)

        return jax.tree.map(leaf, kept[f"gradient@{DECAY}"], kept[f"gradient²@{DECAY}"])

    return score.magnitude(), score.Score(f"damped@{damping} {gain.name}", gain.statistics, value)


tenth = with_scores(functools.partial(_scores, 0.1))
tenfold = with_scores(functools.partial(_scores, 10.0))
