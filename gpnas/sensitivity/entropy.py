"""PSP-entropy: the entropy of the states of neurons, given the class of an image."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from gpnas.gates import Forward
from gpnas.sensitivity import neurons

_EDGE = 1e-4


def psp_entropy(forward: Forward, params: Any, masks: Any, classes: int) -> dict[str, float]:
    """Returns the mean state entropy of each layer's neurons in bits, by path, for `analysis`.

    Args:
      forward: Forward pass of a labelled batch.
      params: Masked parameters.
      masks: Unused; an argument of all analyses.
      classes: Number of classes.
    """
    del masks

    @jax.jit
    def found(params: Any) -> dict[str, jax.Array]:
        seen = neurons.pre_activations(forward, params)
        return state_entropy(seen, forward.labels, classes)

    return {path: float(jnp.mean(h)) for path, h in found(params).items()}


def state_entropy(
    pre_activations: Mapping[str, jax.Array], labels: jax.Array | None, classes: int
) -> dict[str, jax.Array]:
    """Computes the first-order entropy of each neuron's state (on or off), in bits.

    H_i = −Σ_c [P log2 P + (1 − P) log2 (1 − P)], P = Pr(p_i > 0 | class c), clipped to
    [1e-4, 1 − 1e-4]; p_i is the *pre*-activation.

    Args:
      pre_activations: (images, …, neurons) by path; positions in an image count as images.
      labels: (images,) int.
      classes: Number of classes.

    Returns:
      `{path: (neurons,) float32}`.

    Raises:
      ValueError: If `labels` is None.

    References:
      Tartaglione, Bragagnolo & Grangetto 2020 (arXiv:2004.14765), equation 5.
    """
    if labels is None:
        raise ValueError("state_entropy: got no labels, allowed: the class of each image")
    is_class = jax.nn.one_hot(labels, classes)
    weight = is_class / jnp.maximum(jnp.sum(is_class, 0, keepdims=True), 1)

    def of(x: jax.Array) -> jax.Array:
        on = jnp.mean((x > 0).astype(jnp.float32), tuple(range(1, x.ndim - 1)))
        p = jnp.clip(weight.T @ on, _EDGE, 1 - _EDGE)
        return -jnp.sum(p * jnp.log2(p) + (1 - p) * jnp.log2(1 - p), 0)

    return {path: of(x) for path, x in pre_activations.items()}
