"""`development_cost` with grown units whose outgoing weights are not zero."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from gpnas.masks import GrowInit, grow_at_fan_in
from gpnas.methods import Method, development_cost

_make = development_cost.development_cost


def _born(init: GrowInit) -> Callable[..., Method]:
    """Returns `development_cost` with other initial values of grown units' outgoing weights."""

    @functools.wraps(_make)
    def method(**fields: Any) -> Method:
        return _make(**fields)._replace(grow_init=init)

    return method


def against_gradient(scale: float) -> GrowInit:
    """Sets the outgoing weights of each grown unit to a multiple of their negative gradient.

    Their root mean square is `scale` times the standard deviation of He initialization.

    Args:
      scale: 1 is the magnitude of `grow_at_fan_in()`.
    """

    def init(path: str, mask: jax.Array, grad: jax.Array, key: jax.Array | None) -> jax.Array:
        del path, key
        others = tuple(axis for axis in range(grad.ndim) if axis != grad.ndim - 2)
        root = jnp.sqrt(jnp.mean(jnp.square(grad), others, keepdims=True))
        fan_in = jnp.sum(mask, tuple(range(grad.ndim - 1)), jnp.float32, keepdims=True)
        deviation = scale * jnp.sqrt(2.0 / jnp.maximum(fan_in, 1))
        return -deviation * grad / jnp.maximum(root, jnp.finfo(grad.dtype).tiny)

    return init


drawn = _born(grow_at_fan_in())
against = _born(against_gradient(1.0))
slightly_against = _born(against_gradient(0.3))
