"""Decay of what the outputs do not depend on, as an optax transformation."""

from collections.abc import Callable
from typing import Any

import flax
import jax
import jax.numpy as jnp
import optax

from gpnas.gates import Forward
from gpnas.masks import cond_inplace, finite, schedule, tree

Sensitivity = Callable[[Forward, Any, Any], Any]


@flax.struct.dataclass
class ShrinkState:
    """Steps done, () int32, and the last look at S if it is used again; else empty."""

    count: jax.Array
    sensitivity: Any


def shrink(
    rate: float | schedule.Schedule, sensitivity: Sensitivity, every: int = 1
) -> optax.GradientTransformationExtraArgs:
    """Moves weights by −λ · w · [1 − S]₊ beside the optimizer's own step; chain it after that.

    Args:
      rate: λ, of one step; or its schedule.
      sensitivity: `(forward, params, grads) → S`, a tree of the params' structure whose leaves
        broadcast over the params; inf where a leaf is not to shrink.
      every: Steps between new looks at S; between them the last one is used.

    Returns:
      A transformation whose `update` needs params and the extra arguments `forward` (see
      `gpnas.gates.Forward`) and `dense_grads`.

    References:
      Tartaglione et al. 2018 (arXiv:1810.11764), equation 9.
    """

    def init_fn(params: Any) -> ShrinkState:
        start = jax.tree.map(lambda p: jnp.full_like(p, jnp.inf), params)
        return ShrinkState(jnp.int32(0), start if every > 1 else ())

    def look(forward: Forward, params: Any, grads: Any) -> Any:
        found = sensitivity(forward, params, grads)
        return jax.tree.map(
            lambda s, p: jnp.broadcast_to(s, p.shape).astype(p.dtype), found, params
        )

    def fresh(forward: Forward, params: Any, grads: Any, old: Any) -> Any:
        found = look(forward, params, grads)
        fine = finite.are_finite(grads)
        return jax.tree.map(lambda s, o: jnp.where(fine & ~jnp.isnan(s), s, o), found, old)

    def update_fn(
        updates: Any,
        state: ShrinkState,
        params: Any,
        *,
        forward: Forward,
        dense_grads: Any,
        **extra: Any,
    ) -> tuple[Any, ShrinkState]:
        del extra
        count, kept = state.count, state.sensitivity
        if every > 1:
            kept = cond_inplace(
                count % every == 0, lambda old: fresh(forward, params, dense_grads, old), kept
            )
        found = kept if every > 1 else look(forward, params, dense_grads)
        now = rate(count) if callable(rate) else rate

        def pull(u: jax.Array, p: jax.Array, s: jax.Array) -> jax.Array:
            decay = jnp.where(s < 1, 1 - tree.wide(s), 0)  # none where S is NaN
            return (tree.wide(u) - jnp.asarray(now, jnp.float32) * tree.wide(p) * decay).astype(
                u.dtype
            )

        return jax.tree.map(pull, updates, params, found), ShrinkState(count + 1, kept)

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)
