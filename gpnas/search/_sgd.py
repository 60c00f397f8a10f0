"""The weight update shared by the training loops of searches."""

from typing import Any

import jax
import optax


def sgd_step(
    tx: optax.GradientTransformation,
    rate: Any,
    grads: Any,
    opt_state: Any,
    params: Any,
    **extra: Any,
) -> tuple[Any, Any]:
    """Applies transformed gradients times a rate; returns `(params, optimizer state)`.

    The rate is a traced argument, so one program serves runs of any length.

    Args:
      tx: Gradient transformation without a learning rate.
      rate: () float32.
      grads: Gradients of the structure of `params`.
      opt_state: State of `tx`.
      params: Parameters.
      **extra: Arguments of `tx`.
    """
    tx = optax.with_extra_args_support(tx)
    updates, opt_state = tx.update(grads, opt_state, params, **extra)
    return jax.tree.map(lambda p, u: p - rate * u, params, updates), opt_state
