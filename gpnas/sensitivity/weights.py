"""Sensitivity of weights: derivatives of the outputs or the loss with respect to weights."""

from typing import Any

import jax
import jax.numpy as jnp

from gpnas.gates import Forward
from gpnas.masks import tree
from gpnas.sensitivity import neurons


def unspecified(forward: Forward, params: Any, grads: Any = None) -> Any:
    """Computes `S = (1/C) · Σ_k |∂y_k/∂w|` over all C outputs; the params' structure and shapes.

    y is the mean of the logits over the batch, so this is the absolute value of a mean. Needs C
    backward passes, batched.

    References:
      Tartaglione et al. 2018 (arXiv:1810.11764), equations 2 and 4.
    """
    del grads
    outputs, pull = jax.vjp(lambda p: jnp.mean(forward.logits(p)[0], 0), params)
    each = jax.vmap(pull)(jnp.eye(outputs.size, dtype=outputs.dtype))[0]
    return jax.tree.map(lambda g: jnp.mean(jnp.abs(tree.wide(g)), 0), forward.mean(each))


def unspecified_per_example(forward: Forward, params: Any, grads: Any = None) -> Any:
    """Computes S as `unspecified`, with the batch mean of absolute values.

    The mean of the absolute values is at least the absolute value of the mean, so weights decay
    less. Supports networks of dense layers; needs C backward passes to the activations.

    Raises:
      ValueError: If a leaf is no kernel or bias of a dense layer with one input per example.

    References:
      Tartaglione et al. 2018 (arXiv:1810.11764), equations 2 and 4, for each example.
    """
    del grads
    slopes, inputs = neurons.per_example(forward, params), neurons.Neurons()
    forward.logits(params, neurons.tap({}, inputs=inputs))

    def leaf(path: tuple, param: jax.Array) -> jax.Array:
        name = tree.path_name(path)
        layer, _, kind = name.rpartition("/")
        slope, values = (found.get(f"{layer}/kernel") for found in (slopes, inputs))
        if slope is None or values is None or slope.ndim != 2 or kind not in ("kernel", "bias"):
            raise ValueError(
                f"unspecified_per_example: got {name} {param.shape}, allowed: dense layers"
            )
        if kind == "bias":
            return jnp.mean(slope, 0)
        return jnp.abs(tree.wide(values)).T @ slope / len(slope)

    return forward.mean(jax.tree.map_with_path(leaf, params))


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
