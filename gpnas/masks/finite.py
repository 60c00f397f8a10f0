"""Non-finite gradients: statistics skip such steps, and mask updates are deferred.

A NaN in a moving average is permanent, and a NaN score is never selected, so that weights would be
pruned but not grown. A mask update that is due at such a step is performed at the next step with
finite gradients, so that the target density is still met.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gpnas.masks._transform import cond_inplace
from gpnas.masks.tree import nodes_of, wide


class Skips(NamedTuple):
    """Skipped steps; part of the state of every transform that reads gradients.

    Attributes:
      steps: () int32, number of checked steps with non-finite gradients.
      pending: () bool, whether a mask update is deferred.
    """

    steps: jax.Array
    pending: jax.Array

    def after(self, fine: jax.Array | bool) -> "Skips":
        """Returns the state after one more step, counted as skipped unless `fine`."""
        return self._replace(steps=self.steps + (~jnp.asarray(fine)).astype(jnp.int32))


def no_skips() -> Skips:
    """Returns the state before the first step."""
    return Skips(jnp.int32(0), jnp.zeros((), bool))


def are_finite(grads: Any) -> jax.Array:
    """Returns () bool, whether the squared norm of gradients is finite in float32."""
    squares = (jnp.sum(jnp.square(wide(g))) for g in jax.tree.leaves(grads))
    return jnp.isfinite(sum(squares, jnp.float32(0)))


def cond_finite(
    due: jax.Array | bool,
    f: Callable[[Any], Any],
    x: Any,
    skips: Skips,
    grads: Any,
    seen: jax.Array | bool = True,
) -> tuple[Any, Skips]:
    """Updates masks if an update is due or pending; defers it if gradients are not finite.

    Args:
      due: Whether a mask update is due. With the Python bool False no mask update is compiled, and
        a pending one stays pending.
      f: The mask update.
      x: Argument of `f`: masks and state.
      skips: Skipped steps so far.
      grads: Gradients of this step.
      seen: False if the statistics of this step found non-finite gradients; counts the step.

    Returns:
      `f(x)` if updated, else `x`; and the new `skips`, where a step is counted at most once.
    """
    skips = skips.after(seen)
    if due is False:
        return x, skips

    def update(carry: tuple[Any, Skips]) -> tuple[Any, Skips]:
        x, skips = carry
        fine = are_finite(grads)
        skips = skips.after(fine | ~jnp.asarray(seen))
        return cond_inplace(fine, f, x), skips._replace(pending=~fine)

    return cond_inplace(jnp.asarray(due) | skips.pending, update, (x, skips))


def skipped(state: Any) -> jax.Array:
    """Returns () int32, the steps that a mask transform has skipped; may be traced."""
    return jnp.max(jnp.stack([jnp.int32(0), *(node.steps for node in nodes_of(Skips, state))]))


def pending(state: Any) -> jax.Array:
    """Returns () bool, whether a mask transform has deferred a mask update; may be traced.

    For replicas, stacked or under `vmap`, the result is True if it is for any replica. A decision
    per replica would compute both branches for each of them.
    """
    flags = (jnp.any(node.pending) for node in nodes_of(Skips, state))
    return _of_any_replica(jnp.any(jnp.stack([jnp.zeros((), bool), *flags])))


@jax.custom_batching.custom_vmap
def _of_any_replica(flag: jax.Array) -> jax.Array:
    return flag


@_of_any_replica.def_vmap
def _(size: int, batched: Any, flags: jax.Array) -> tuple[jax.Array, bool]:
    del size, batched
    return jnp.any(flags), False


def may_defer(state: Any) -> bool:
    """Returns whether a mask transform with this state can defer mask updates."""
    return bool(nodes_of(Skips, state))
