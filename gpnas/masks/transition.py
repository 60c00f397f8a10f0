"""Transition: what a change of masks does to the parameters and to any optax state."""

import zlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from gpnas.masks import tree
from gpnas.masks.axes import Table, sides

_SAME = "same"  # marks entries of an optimizer's state that stay
_WAKE = zlib.crc32(b"wake")  # the mask transform had the same key: its draws chose who wakes
Wake = Callable[[str, jax.Array, jax.Array, jax.Array], jax.Array]


def at_zero(path: str, mask: jax.Array, grad: jax.Array, key: jax.Array) -> jax.Array:
    """Woken weights start at zero: the network's function does not jump."""
    del path, mask, key
    return jnp.zeros(grad.shape, grad.dtype)


def at_fan_in(scale: float = 1.0, axes: Table | None = None) -> Wake:
    """Woken weights start at random, N(0, scale² · 2 / fan-in), with the fan-in that is *alive*.

    Args:
      scale: 1 is He initialisation of the living network.
      axes: `Axes` by path glob.
    """

    def wake(path: str, mask: jax.Array, grad: jax.Array, key: jax.Array) -> jax.Array:
        at = sides(path, mask.ndim, axes)
        fan_in = jnp.sum(mask, (*at.receptive, *at.ins), jnp.float32, keepdims=True)
        deviation = scale * jnp.sqrt(2.0 / jnp.maximum(fan_in, 1))
        return (deviation * jax.random.normal(key, grad.shape)).astype(grad.dtype)

    return wake


def transition(
    tx: optax.GradientTransformation,
    old: Any,
    new: Any,
    params: Any,
    opt_state: Any,
    *,
    wake: Wake = at_zero,
    grads: Any = None,
    key: jax.Array | None = None,
) -> tuple[Any, Any]:
    """Carries params and optimizer state over a change of masks.

    Dropped weights become zero, grown ones get their first value, and every moment that the
    optimizer keeps of a changed entry is as `tx.init` begins it.

    Args:
      tx: The optimizer that made `opt_state`: any of optax and `optax.contrib`, wrapped or not,
        but `sm3`, `flatten` and `lookahead`, whose states have not the structure of the params. Of
        an `nnx.Optimizer`, pass its `tx` and a state of its own, `tx.init(params)`.
      old, new: Masks before and after.
      params: Parameters.
      opt_state: State of `tx`.
      wake: `(path, new mask, gradient, key) → values` for a leaf of which some entries woke.
      grads: Dense gradients, for `wake`; defaults to `params` (only shape and dtype matter then).
      key: Random key for `wake`; needed by those that draw.

    Returns:
      `(params, opt_state)`, same structures. State that is not of a parameter's shape (counts,
      factored moments, the history of `lbfgs`) is left alone.

    Raises:
      ValueError: If the state has no moments of the params' structure.
    """
    params = rewoken(old, new, params, wake=wake, grads=grads, key=key)
    return params, reset(tx, old, new, opt_state, params)


def rewoken(
    old: Any,
    new: Any,
    params: Any,
    *,
    wake: Wake = at_zero,
    grads: Any = None,
    key: jax.Array | None = None,
) -> Any:
    """The part of `transition` that is about params: zero what was dropped, begin what woke."""
    key = jax.random.key(0) if key is None else key
    key = jax.random.fold_in(key, _WAKE)

    def value(
        path: tuple, was: jax.Array, now: jax.Array, param: jax.Array, grad: jax.Array
    ) -> jax.Array:
        if not jnp.ndim(now):
            return param
        name = tree.path_name(path)
        fresh = wake(name, now, grad, tree.keys_for(key, {name: grad})[name])
        return jnp.where(now, jnp.where(was, param, fresh), jnp.zeros((), param.dtype))

    return jax.tree.map_with_path(value, old, new, params, params if grads is None else grads)


def reset(tx: optax.GradientTransformation, old: Any, new: Any, opt_state: Any, params: Any) -> Any:
    """Moments of all entries whose mask changed, as `tx.init` begins them.

    Args:
      tx: The optimizer that made `opt_state`.
      old, new: Masks before and after.
      opt_state: State of `tx`.
      params: Parameters after the change.

    Raises:
      ValueError: If the state has no moments of the params' structure.
    """

    def moment(kept: Any, was: jax.Array, now: jax.Array) -> Any:
        nothing = isinstance(kept, optax.MaskedNode)
        if nothing or not jnp.ndim(now) or jnp.shape(kept) != now.shape:
            return _SAME
        return was != now

    try:
        changed = optax.tree_utils.tree_map_params(
            tx,
            moment,
            opt_state,
            old,
            new,
            transform_non_params=lambda _: _SAME,
            is_leaf=lambda x: isinstance(x, optax.MaskedNode),
        )
        fresh = tx.init(params)
        return jax.tree.map(
            lambda kept, at, first: kept if at is _SAME else jnp.where(at, first, kept),
            opt_state,
            changed,
            fresh,
            is_leaf=lambda x: isinstance(x, optax.MaskedNode),
        )
    except (AttributeError, TypeError, ValueError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ValueError(
            f"transition: got {type(opt_state).__name__}, allowed: a state as `tx.init(params)`"
            f" makes it, whose moments have the structure of the params ({reason[:200]})"
        ) from error
