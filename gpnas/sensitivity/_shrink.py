"""Decay of insensitive weights, as an optax transformation."""

import functools
from collections.abc import Callable
from typing import Any

import flax
import jax
import jax.numpy as jnp
import optax

from gpnas.gates import Forward
from gpnas.masks import cond_inplace, finite, schedule, tree

#: `(forward, params, grads) → S`, a tree of the params' structure; see `shrink`.
Sensitivity = Callable[[Forward, Any, Any], Any]


@flax.struct.dataclass
class ShrinkState:
    """Number of steps, () int32, and the last S if it is reused, else ()."""

    count: jax.Array
    sensitivity: Any


def shrink(
    rate: float | schedule.Schedule, sensitivity: Sensitivity, every: int = 1
) -> optax.GradientTransformationExtraArgs:
    """Adds −λ · w · [1 − S]₊ to the updates; to be chained after the optimizer.

    Args:
      rate: λ per step, or its schedule.
      sensitivity: `(forward, params, grads) → S`, a tree of the params' structure whose leaves
        broadcast over the params; inf for leaves without decay.
      every: Steps between evaluations of S; between them the last S is used.

    Returns:
      A transformation whose `update` needs params and the extra arguments `forward` (see
      `gpnas.gates.Forward`) and `dense_grads`.

    Raises:
      ValueError: If `every` is below 1.

    References:
      Tartaglione et al. 2018 (arXiv:1810.11764), equation 9.
    """

    schedule.check_steps("every", every)

    def init_fn(params: Any) -> ShrinkState:
        start = jax.tree.map(lambda p: jnp.full_like(p, jnp.inf), params)
        return ShrinkState(jnp.int32(0), start if every > 1 else ())

    def evaluate(forward: Forward, params: Any, grads: Any) -> Any:
        found = sensitivity(forward, params, grads)
        return jax.tree.map(
            lambda s, p: jnp.broadcast_to(s, p.shape).astype(p.dtype), found, params
        )

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

        def refresh(old: Any) -> Any:
            fine, found = finite.are_finite(dense_grads), evaluate(forward, params, dense_grads)
            return jax.tree.map(lambda s, o: jnp.where(fine & ~jnp.isnan(s), s, o), found, old)

        if every > 1:
            found = kept = cond_inplace(state.count % every == 0, refresh, state.sensitivity)
        else:
            found, kept = evaluate(forward, params, dense_grads), ()
        now = rate(state.count) if callable(rate) else rate
        updates = jax.tree.map(functools.partial(_decayed, now), updates, params, found)
        return updates, ShrinkState(state.count + 1, kept)

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)


def _decayed(
    rate: jax.Array | float, update: jax.Array, param: jax.Array, sensitivity: jax.Array
) -> jax.Array:
    decay = jnp.where(sensitivity < 1, 1 - tree.wide(sensitivity), 0)  # no decay where S is NaN
    pull = jnp.asarray(rate, jnp.float32) * tree.wide(param) * decay
    return (tree.wide(update) - pull).astype(update.dtype)
