"""Decay of what the outputs do not depend on, as an optax transformation."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from gpnas.gates import Forward
from gpnas.masks import sometimes

Sensitivity = Callable[[Forward, Any, Any], Any]


def shrink(
    rate: float, sensitivity: Sensitivity, every: int = 1
) -> optax.GradientTransformationExtraArgs:
    """Moves weights by −λ · w · [1 − S]₊ beside the optimizer's own step; chain it after that.

    Args:
      rate: λ, of one step.
      sensitivity: `(forward, params, grads) → S`, a tree of the params' structure whose leaves
        broadcast over the params; inf where a leaf is not to shrink.
      every: Steps between new looks at S; between them the last one is used.

    Returns:
      A transformation whose `update` needs params and the extra arguments `forward` (see
      `gpnas.gates.Forward`) and `grads`.

    References:
      Tartaglione et al. 2018 (arXiv:1810.11764), equation 9.
    """

    def init_fn(params: Any) -> tuple:
        return (jnp.int32(0), jax.tree.map(jnp.zeros_like, params)) if every > 1 else ()

    def looked(forward: Forward, params: Any, grads: Any) -> Any:
        found = sensitivity(forward, params, grads)
        return jax.tree.map(
            lambda s, p: jnp.broadcast_to(s, p.shape).astype(p.dtype), found, params
        )

    def update_fn(
        updates: Any, state: tuple, params: Any, *, forward: Forward, grads: Any, **extra: Any
    ) -> tuple[Any, tuple]:
        del extra
        if every == 1:
            found = looked(forward, params, grads)
        else:
            count, old = state
            found = sometimes(count % every == 0, lambda _: looked(forward, params, grads), old)
            state = (count + 1, found)

        def pull(u: jax.Array, p: jax.Array, s: jax.Array) -> jax.Array:
            return u - rate * p * jnp.maximum(1 - s, 0)

        return jax.tree.map(pull, updates, params, found), state

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)
