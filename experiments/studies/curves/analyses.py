"""Analyses of the finished networks, `config.analysis`: entropy of neuron states, sharpness."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from gpnas.gates import Forward
from gpnas.masks import apply, tree
from gpnas.sensitivity import neurons

_EDGE = 1e-4


def psp_entropy(forward: Forward, params: Any, masks: Any, classes: int) -> dict[str, float]:
    """Returns the mean entropy in bits of the neuron states of each layer, by path."""
    del masks

    @jax.jit
    def found(params: Any) -> dict[str, jax.Array]:
        seen = neurons.pre_activations(forward, params)
        return state_entropy(seen, forward.labels, classes)

    return {path: float(jnp.mean(h)) for path, h in found(params).items()}


def top_eigenvalue(forward: Forward, params: Any, masks: Any, classes: int) -> float:
    """Returns the top eigenvalue of the Hessian of the loss with respect to the active weights."""
    del classes

    @jax.jit
    def found(params: Any) -> jax.Array:
        return largest_eigenvalue(
            lambda p: forward.loss(apply(masks, p))[0], params, jax.random.key(0)
        )

    return float(found(params))


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


def largest_eigenvalue(
    loss: Callable[[Any], jax.Array], params: Any, key: jax.Array, steps: int = 50
) -> jax.Array:
    """Computes the Hessian eigenvalue of largest magnitude by power iteration.

    Args:
      loss: `params → () loss`.
      params: Parameters at which the Hessian is taken.
      key: Random key of the initial direction.
      steps: Number of iterations, each a Hessian-vector product.

    Returns:
      () float32, the Rayleigh quotient of the last direction.
    """

    def product(v: Any) -> Any:
        return jax.jvp(jax.grad(loss), (params,), (v,))[1]

    def unit(v: Any) -> Any:
        norm = jnp.maximum(optax.tree.norm(jax.tree.map(tree.wide, v)), 1e-30)
        return jax.tree.map(lambda x: (tree.wide(x) / norm).astype(x.dtype), v)

    leaves, treedef = jax.tree.flatten(params)
    keys = jax.random.split(key, len(leaves))
    drawn = [jax.random.normal(k, x.shape, x.dtype) for k, x in zip(keys, leaves, strict=True)]
    v = jax.lax.fori_loop(
        0, steps, lambda _, v: unit(product(v)), unit(jax.tree.unflatten(treedef, drawn))
    )
    return optax.tree.vdot(jax.tree.map(tree.wide, v), jax.tree.map(tree.wide, product(v)))
