"""The weight update that the loops of searches share."""

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
    """Descends by transformed gradients times a rate; `(params, optimizer state)`.

    The rate is data, so that one program serves runs of all lengths.

    Args:
      tx: Transforms gradients, without a learning rate.
      rate: () float32.
      grads: Gradients of the structure of `params`.
      opt_state: State of `tx`.
      params: Parameters.
      **extra: Arguments of `tx`.
    """
    tx = optax.with_extra_args_support(tx)
    updates, opt_state = tx.update(grads, opt_state, params, **extra)
    return jax.tree.map(lambda p, u: p - rate * u, params, updates), opt_state
