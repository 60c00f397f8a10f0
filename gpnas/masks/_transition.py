"""Transition of parameters and of any optax state after a mask update."""

import zlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from gpnas.masks import tree
from gpnas.masks.axes import AxesTable, sides

_SAME = "same"  # marks entries of an optimizer's state that do not change
# Folded into the key of the mask transform; the text is kept so that random streams do not change.
_GROW = zlib.crc32(b"wake")
#: `(path, mask, grad, key) → array`, initial values of grown entries, of the leaf's shape; the key
#: is None if `transition` got none.
GrowInit = Callable[[str, jax.Array, jax.Array, jax.Array | None], jax.Array]


def grow_at_zero(path: str, mask: jax.Array, grad: jax.Array, key: jax.Array | None) -> jax.Array:
    """Initialises grown weights at zero, so that the network's function does not change."""
    del path, mask, key
    return jnp.zeros(grad.shape, grad.dtype)


def grow_at_fan_in(scale: float = 1.0, axes: AxesTable | None = None) -> GrowInit:
    """Draws grown weights from N(0, scale² · 2 / fan-in), with the fan-in of active weights.

    Args:
      scale: 1 gives He initialisation of the sparse network.
      axes: `Axes` by path glob.
    """

    def init(path: str, mask: jax.Array, grad: jax.Array, key: jax.Array | None) -> jax.Array:
        if key is None:
            raise ValueError("key: got None, allowed: a random key, for random initial values")
        at = sides(path, mask.ndim, axes)
        fan_in = jnp.sum(mask, (*at.receptive, *at.ins), jnp.float32, keepdims=True)
        deviation = scale * jnp.sqrt(2.0 / jnp.maximum(fan_in, 1))
        return (deviation * jax.random.normal(key, grad.shape)).astype(grad.dtype)

    return init


def transition(
    tx: optax.GradientTransformation,
    old: Any,
    new: Any,
    params: Any,
    opt_state: Any,
    *,
    init: GrowInit = grow_at_zero,
    grads: Any = None,
    key: jax.Array | None = None,
) -> tuple[Any, Any]:
    """Returns params and optimizer state after a change of masks.

    Pruned weights are set to zero, and grown weights to their initial values. Moments of changed
    entries are stale, so they are reset to those of `tx.init`.

    Args:
      tx: The optimizer that made `opt_state`: any of optax and `optax.contrib`, wrapped or not,
        except `sm3`, `flatten`, `lookahead` and `lbfgs` with its line search, whose states do not
        have the structure of the params. For an `nnx.Optimizer`, pass its `tx` and
        `tx.init(params)`.
      old, new: Masks before and after.
      params: Parameters.
      opt_state: State of `tx`.
      init: `(path, new mask, gradient, key) → values`, the initial values of grown entries.
      grads: Dense gradients, for `init`; by default `params`, of which `init` may then use only
        shapes and dtypes.
      key: Random key, for a random `init`.

    Returns:
      `(params, opt_state)`, same structures. State without a parameter's shape (counts, factored
      moments, the history of `lbfgs`) is unchanged.

    Raises:
      ValueError: If the moments do not have the structure of the params.
    """
    params = reinit_grown(old, new, params, init=init, grads=grads, key=key)
    return params, reset_moments(tx, old, new, opt_state, params)


def reinit_grown(
    old: Any,
    new: Any,
    params: Any,
    *,
    init: GrowInit = grow_at_zero,
    grads: Any = None,
    key: jax.Array | None = None,
) -> Any:
    """Returns params after a change of masks: pruned weights zero, grown weights initialised.

    Args:
      old, new: Masks before and after.
      params: Parameters.
      init, grads, key: As in `transition`.

    Returns:
      Params of the same structure.

    Raises:
      ValueError: From a random `init` without a key.
    """
    own = None if key is None else jax.random.fold_in(key, _GROW)

    def value(
        path: tuple, was: jax.Array, now: jax.Array, param: jax.Array, grad: jax.Array
    ) -> jax.Array:
        if not jnp.ndim(now):
            return param
        name = tree.path_name(path)
        leaf_key = None if own is None else tree.keys_for(own, {name: grad})[name]
        fresh = init(name, now, grad, leaf_key).astype(param.dtype)
        return jnp.where(now, jnp.where(was, param, fresh), jnp.zeros((), param.dtype))

    return jax.tree.map_with_path(value, old, new, params, params if grads is None else grads)


def reset_moments(
    tx: optax.GradientTransformation, old: Any, new: Any, opt_state: Any, params: Any
) -> Any:
    """Resets the moments of changed entries to those of `tx.init`.

    Args:
      tx: The optimizer that made `opt_state`.
      old, new: Masks before and after.
      opt_state: State of `tx`.
      params: Parameters after the change.

    Raises:
      ValueError: If the moments do not have the structure of the params.
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
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ValueError(
            f"transition: got {type(opt_state).__name__}, allowed: a state as `tx.init(params)`"
            f" makes it, whose moments have the structure of the params ({reason[:200]})"
        ) from error
