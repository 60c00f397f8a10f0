"""Steps whose gradients are not finite: statistics skip them, and mask updates are deferred.

A NaN in a moving average is permanent, and a NaN score is never selected, so that weights would be
pruned but not grown. A mask update that is due at such a step is done as a whole at the next step
with finite gradients, so that the target density is met.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gpnas.masks._transform import cond_inplace
from gpnas.masks.tree import nodes_of, wide


class Skips(NamedTuple):
    """Skipped steps; part of the state of each transform that reads gradients.

    Attributes:
      steps: () int32, number of checked steps with gradients that were not finite.
      pending: () bool, whether a mask update is deferred.
    """

    steps: jax.Array
    pending: jax.Array

    def after(self, fine: jax.Array | bool) -> "Skips":
        """The state after one more step; counts it unless its gradients are finite (`fine`)."""
        return self._replace(steps=self.steps + (~jnp.asarray(fine)).astype(jnp.int32))


def no_skips() -> Skips:
    """The state before the first step."""
    return Skips(jnp.int32(0), jnp.zeros((), bool))


def are_finite(grads: Any) -> jax.Array:
    """() bool, whether the squared norm of gradients is finite in float32; may be traced."""
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
    """`f(x)` if a mask update is due (or pending) and the gradients are finite, else `x`.

    Args:
      due: Whether a mask update is due. With the Python bool False no mask update is compiled, and
        none that is pending is done.
      f: The mask update.
      x: Its argument, masks and state.
      skips: Skipped steps so far.
      grads: Gradients of this step.
      seen: Whether the statistics found them finite, if checked; each step is counted once.

    Returns:
      `(x, skips)`.
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
    """() int32, steps that a mask transform has skipped, from its state; may be traced."""
    return jnp.max(jnp.stack([jnp.int32(0), *(node.steps for node in nodes_of(Skips, state))]))


def pending(state: Any) -> jax.Array:
    """() bool, whether a mask update is deferred, from a mask transform's state; may be traced.

    Of replicas, stacked or under `vmap`, whether one of any is: they share the decision, which
    would else compute both of its branches for each.
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
    """Whether a mask transform with such a state can defer mask updates."""
    return bool(nodes_of(Skips, state))
