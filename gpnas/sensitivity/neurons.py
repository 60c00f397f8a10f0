"""Sensitivity of neurons: derivatives of the outputs with respect to pre-activations.

A neuron is an output of a layer with a `kernel`: a unit of a dense layer, or a filter of a
convolution (averaged or summed over positions). Pre-activations are read by a Flax interceptor,
which works for any Linen model.

`exact`, `lower_bound`, `upper_bound` and `local` take `forward`, the forward pass of a batch
(`gpnas.gates.Forward`), and `params`. They return `{path of the kernel: (neurons,) float32}`.
"""

import math
from typing import Any, Literal

import jax
import jax.numpy as jnp

from gpnas.gates import Forward, Intercept
from gpnas.masks import init_masks, masked_leaves, tree

Neurons = dict[str, jax.Array]  # (neurons,) by path of the kernel
Positions = Literal["mean", "sum"]  # of a filter's output


def kernel_paths(params: Any) -> list[str]:
    """Returns the paths of the kernels in natural order."""
    return [p for p in masked_leaves(init_masks(params), params) if p.split("/")[-1] == "kernel"]


def tap(added: Neurons, seen: Neurons | None = None, inputs: Neurons | None = None) -> Intercept:
    """Makes an interceptor that adds values to pre-activations and collects them.

    Args:
      added: Values to add to the output of a layer, by path of its kernel.
      seen: If given, filled with the outputs by path.
      inputs: If given, filled with the inputs of the layers by path.

    Returns:
      The interceptor, for `flax.linen.intercept_methods`.
    """

    def intercept(layer: Any, args: tuple, kwargs: dict, context: Any) -> Any:
        out = layer(*args, **kwargs)
        if context.method_name != "__call__" or not context.module.path:
            return out
        path = "/".join((*context.module.path, "kernel"))
        if seen is not None and context.module.has_variable("params", "kernel"):
            seen[path] = out
        if inputs is not None and context.module.has_variable("params", "kernel"):
            inputs[path] = args[0]
        return out + added[path] if path in added else out

    return intercept


def pre_activations(forward: Forward, params: Any) -> Neurons:
    """Returns the outputs of each layer with a kernel: (batch, …, neurons) by path."""
    seen: Neurons = {}
    forward.logits(params, tap({}, seen))
    return {path: seen[path] for path in kernel_paths(params) if path in seen}


def exact(forward: Forward, params: Any, positions: Positions = "mean") -> Neurons:
    """Computes `S_i = (1/C) · Σ_k |∂y_k/∂p_i|`, averaged over the batch.

    C is the number of outputs y_k; p_i is the pre-activation. It takes one backward pass, batched
    over outputs. S of a filter is the "mean" or the "sum" over the positions of its output.

    References:
      Tartaglione et al. 2021, SeReNe (arXiv:2102.03773), equation 3.
    """
    found = per_example(forward, params)
    return forward.mean({p: _per_neuron(g, positions) for p, g in found.items()})


def per_example(forward: Forward, params: Any) -> Neurons:
    """Computes `(1/C) · Σ_k |∂y_k/∂p_i|` of each example: (batch, …, neurons) float32 by path.

    References:
      Tartaglione et al. 2021, SeReNe (arXiv:2102.03773), equation 3.
    """
    pull, outputs = _pull(forward, params)
    classes = outputs.shape[-1]
    each = jax.vmap(lambda k: pull(jnp.broadcast_to(jax.nn.one_hot(k, classes), outputs.shape)))(
        jnp.arange(classes)
    )
    return {p: jnp.mean(jnp.abs(tree.wide(g)), 0) for p, g in each.items()}


def lower_bound(forward: Forward, params: Any, positions: Positions = "mean") -> Neurons:
    """Computes `(1/C) · |Σ_k ∂y_k/∂p_i|`, averaged over the batch, in one backward pass.

    Absolute values are taken at each position of a filter, then averaged or summed as for `exact`.

    References:
      Tartaglione et al. 2021 (arXiv:2102.03773), equation 9.
    """
    pull, outputs = _pull(forward, params)
    summed = pull(jnp.full(outputs.shape, 1 / outputs.shape[-1], outputs.dtype))
    return forward.mean({p: _per_neuron(jnp.abs(g), positions) for p, g in summed.items()})


def upper_bound(forward: Forward, params: Any) -> Neurons:
    """Computes `(1/C) · Σ_k` of products of `|W|` from a neuron to the outputs; no backward pass.

    Supports chains of dense layers whose activations have slopes of at most 1, in the order of
    their calls.

    Raises:
      ValueError: If a layer is not dense, or does not fit the next one.

    References:
      Tartaglione et al. 2021 (arXiv:2102.03773), equation 12.
    """
    weights = masked_leaves(init_masks(params), params)
    paths = kernel_paths(params)
    called: Neurons = {}
    jax.eval_shape(lambda: forward.logits(params, tap({}, called))[0])
    found: Neurons = {}
    above: tuple[jax.Array, jax.Array] | None = None
    for path in (p for p in reversed(called) if p in paths):
        w = weights[path]
        fits = above is None or above[1].shape[0] == w.shape[-1]
        if w.ndim != 2 or not fits:
            raise ValueError(f"upper_bound: got a layer {path} of {w.shape}, allowed: dense chains")
        outs = jnp.full(w.shape[-1], 1 / w.shape[-1]) if above is None else above[1] @ above[0]
        found[path] = outs
        above = outs, jnp.abs(tree.wide(w))
    return {path: found[path] for path in paths if path in found}


def local(forward: Forward, params: Any) -> Neurons:
    """Returns 1 for neurons whose mean pre-activation over the batch is positive, else 0.

    So only weights of neurons that are mostly off decay. Needs no backward pass.

    References:
      Tartaglione et al. 2021 (arXiv:2102.03773), section III-D.
    """
    seen = forward.mean({p: _per_neuron(x) for p, x in pre_activations(forward, params).items()})
    return {p: (x > 0).astype(jnp.float32) for p, x in seen.items()}


def on_incoming(neurons: Any) -> Any:
    """Assigns to each weight the sensitivity of the neuron it leads to.

    Args:
      neurons: `(forward, params) → {path: (neurons,)}`.

    Returns:
      `(forward, params, grads) → tree` for `shrink`; inf (no decay) for leaves other than kernels.
    """

    def sensitivity(forward: Forward, params: Any, grads: Any = None) -> Any:
        del grads
        found = neurons(forward, params)

        def leaf(path: tuple, param: jax.Array) -> jax.Array:
            del param
            return found.get(tree.path_name(path), jnp.float32(jnp.inf))

        return jax.tree.map_with_path(leaf, params)

    return sensitivity


def _pull(forward: Forward, params: Any) -> tuple[Any, jax.Array]:
    """Returns `cotangent of the logits → cotangents of pre-activations`, and the logits."""
    paths = kernel_paths(params)
    shapes = jax.eval_shape(lambda: pre_activations(forward, params))
    zeros = {p: jnp.zeros(shapes[p].shape, shapes[p].dtype) for p in paths if p in shapes}
    outputs, pull = jax.vjp(lambda added: forward.logits(params, tap(added))[0], zeros)
    return lambda cotangent: pull(cotangent)[0], outputs


def _per_neuron(values: jax.Array, positions: Positions = "mean") -> jax.Array:
    """Averages over the batch, and averages or sums over the positions between the first axis and
    the last."""
    mean = jnp.mean(tree.wide(values), tuple(range(values.ndim - 1)))
    return mean * math.prod(values.shape[1:-1]) if positions == "sum" else mean
