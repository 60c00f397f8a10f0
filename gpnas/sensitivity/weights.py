"""Sensitivity of weights: derivatives of the outputs or the loss with respect to weights."""

from typing import Any

import jax
import jax.numpy as jnp

from gpnas.gates import Forward
from gpnas.masks import tree


def unspecified(forward: Forward, params: Any, grads: Any = None) -> Any:
    """Computes `S = (1/C) · Σ_k |∂y_k/∂w|` over all C outputs; the params' structure and shapes.

    y is the mean of the logits over the batch. Needs C backward passes, batched.

    References:
      Tartaglione et al. 2018 (arXiv:1810.11764), equations 2 and 4.
    """
    del grads
    outputs, pull = jax.vjp(lambda p: jnp.mean(forward.logits(p)[0], 0), params)
    each = jax.vmap(pull)(jnp.eye(outputs.size, dtype=outputs.dtype))[0]
    return jax.tree.map(lambda g: jnp.mean(jnp.abs(tree.wide(g)), 0), forward.mean(each))


def specified(forward: Forward, params: Any, grads: Any = None) -> Any:
    """Computes `S = |∂y_t/∂w|`, t the class of each image; the params' structure and shapes.

    y_t is the batch mean of each image's target logit. Needs one backward pass.

    Raises:
      ValueError: If the batch has no labels, or more than one class per image, as after mixup.

    References:
      Tartaglione et al. 2018 (arXiv:1810.11764), equations 2 and 5.
    """
    del grads
    labels = forward.labels
    if labels is None or labels.ndim != 1:
        got = "no labels" if labels is None else f"labels {labels.shape}"
        raise ValueError(f"specified: got {got}, allowed: the class of each image")

    def own(p: Any) -> jax.Array:
        logits = forward.logits(p)[0]
        return jnp.mean(jnp.take_along_axis(logits, labels[:, None], 1))

    return jax.tree.map(jnp.abs, forward.mean(jax.grad(own)(params)))


def of_loss(forward: Forward, params: Any, grads: Any) -> Any:
    """Computes `S = |∂L/∂w|` from the gradient of the step.

    References:
      Tartaglione et al. 2020, LOBSTER (arXiv:2011.09905), equation 3.
    """
    del forward, params
    return jax.tree.map(jnp.abs, grads)
