"""An analysis of the finished networks, `config.analysis`: the sharpness of the minimum."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from gpnas.gates import Forward
from gpnas.masks import apply, tree


def top_eigenvalue(forward: Forward, params: Any, masks: Any, classes: int) -> float:
    """Returns the top eigenvalue of the Hessian of the loss with respect to the active weights."""
    del classes

    @jax.jit
    def found(params: Any) -> jax.Array:
        return largest_eigenvalue(
            lambda p: forward.loss(apply(masks, p))[0], params, jax.random.key(0)
        )

    return float(found(params))


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
