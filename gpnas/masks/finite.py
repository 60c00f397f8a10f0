"""Steps whose gradients are not finite: statistics leave them out, and mask updates wait.

One NaN in a moving average stays there for good, and a NaN score is never selected, so that pruning
would go on while growth stood still. A mask update that is due at such a step is done at the next
step with finite gradients, whole: grown and pruned stay in balance, and no density is missed.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gpnas.masks.transform import sometimes
from gpnas.masks.tree import wide


class Skips(NamedTuple):
    """Steps that were skipped; part of the state of each transform that reads gradients.

    Attributes:
      steps: () int32, steps with gradients that were not finite, of those that were looked at.
      pending: () bool, whether a mask update is still to be done.
    """

    steps: jax.Array
    pending: jax.Array

    def after(self, fine: jax.Array | bool) -> "Skips":
        """With one more step counted, unless its gradients are finite."""
        return self._replace(steps=self.steps + (~jnp.asarray(fine)).astype(jnp.int32))


def no_skips() -> Skips:
    """Before the first step."""
    return Skips(jnp.int32(0), jnp.zeros((), bool))


def are_finite(grads: Any) -> jax.Array:
    """() bool, whether the squared norm of some gradients is a finite float32; may be traced."""
    squares = (jnp.sum(jnp.square(wide(g))) for g in jax.tree.leaves(grads))
    return jnp.isfinite(sum(squares, jnp.float32(0)))


def sometimes_finite(
    event: jax.Array | bool,
    f: Callable[[Any], Any],
    x: Any,
    skips: Skips,
    grads: Any,
    seen: jax.Array | bool = True,
) -> tuple[Any, Skips]:
    """`f(x)` if a mask update is due (or pending) and the gradients are finite, else `x`.

    Args:
      event: Whether a mask update is due. The Python bool False compiles none, nor a pending one.
      f: The mask update.
      x: What it changes.
      skips: Steps skipped before.
      grads: Gradients of this step.
      seen: Whether statistics found them finite, if they looked; each step counts once.

    Returns:
      `(x, skips)`.
    """
    skips = skips.after(seen)
    if event is False:
        return x, skips

    def due(carry: tuple[Any, Skips]) -> tuple[Any, Skips]:
        x, skips = carry
        fine = are_finite(grads)
        skips = skips.after(fine | ~jnp.asarray(seen))
        return sometimes(fine, f, x), skips._replace(pending=~fine)

    return sometimes(jnp.asarray(event) | skips.pending, due, (x, skips))


def skipped(state: Any) -> jax.Array:
    """() int32, steps that a mask transform has skipped, by its state; may be traced."""
    nodes = jax.tree.leaves(state, is_leaf=lambda x: isinstance(x, Skips))
    steps = [node.steps for node in nodes if isinstance(node, Skips)]
    return jnp.max(jnp.stack(steps)) if steps else jnp.int32(0)
