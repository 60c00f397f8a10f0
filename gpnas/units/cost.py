"""Cost: parameters, multiply-accumulates (MACs) and training FLOPs, by shapes and schedules."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from gpnas.masks import maskable, summary
from gpnas.masks.schedule import Schedule


class Cost(NamedTuple):
    """What a masked network costs. MACs are for one image; one MAC is two FLOPs.

    Attributes:
      params: Parameters, biases and norm scales included.
      weights: Maskable weights.
      nonzeros: Living weights.
      nonzeros_with_bias: Living weights and all parameters that cannot be masked.
      density: nonzeros / weights.
      inference_macs: MACs of the living weights: what a perfect sparse kernel would do. Masks alone
        save none of it.
      inference_macs_dense: MACs of all the weights.
    """

    params: int
    weights: int
    nonzeros: int
    nonzeros_with_bias: int
    density: float
    inference_macs: int
    inference_macs_dense: int


def macs_per_weight(module: nn.Module, image_shape: tuple[int, ...]) -> dict[str, int]:
    """How many MACs each kernel's single weight takes part in for one image.

    Args:
      module: A Flax module, called as `module(images, train=False)`.
      image_shape: (height, width, channels).

    Returns:
      `{path of kernel: MACs}`.
    """
    images = jnp.zeros((1, *image_shape))
    return macs_of_calls(lambda: module.init(jax.random.key(0), images, train=False))


def macs_of_calls(f: Callable[..., Any], *args: Any) -> dict[str, int]:
    """How many MACs each kernel's single weight takes part in for one image, in any function.

    Nothing is computed: the function is traced with abstract values, and each `nn.Dense` and
    `nn.Conv` is seen on its way (a weight of a dense layer is used once, one of a convolution at
    every position).

    Args:
      f: A function that applies Flax modules, and is not jitted itself.
      *args: Its arguments, or their shapes.

    Returns:
      `{path of kernel: MACs}`.
    """
    uses: dict[str, int] = {}

    def watch(
        call: Callable, args: tuple, kwargs: dict, context: nn.module.InterceptorContext
    ) -> Any:
        out = call(*args, **kwargs)
        if context.method_name == "__call__" and isinstance(context.module, nn.Dense | nn.Conv):
            path = "/".join((*context.module.path, "kernel"))
            uses[path] = uses.get(path, 0) + int(np.prod(out.shape[1:-1]))
        return out

    with nn.intercept_methods(watch):
        jax.eval_shape(f, *args)
    return uses


def network_cost(params: Any, masks: Any, uses: Mapping[str, int]) -> Cost:
    """The cost of a network as its masks leave it.

    Args:
      params: Parameters (or their shapes).
      masks: Masks of the same structure.
      uses: `macs_per_weight` of the module; a leaf that is not in it counts no MACs.
    """
    total = sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(params))
    leaves = summary.layers(masks)
    weights = sum(int(np.prod(leaf.shape)) for leaf in leaves)
    alive = sum(leaf.nonzeros for leaf in leaves)
    masked = {leaf.path: leaf.nonzeros for leaf in leaves}
    whole = {
        path: int(np.prod(leaf.shape))
        for path, leaf in maskable(_all_leaves(params), params).items()
    }
    dense_macs = sum(n * whole[path] for path, n in uses.items())
    macs = sum(n * masked.get(path, whole[path]) for path, n in uses.items())
    return Cost(
        total, weights, alive, total - weights + alive, alive / max(weights, 1), macs, dense_macs
    )


def _all_leaves(params: Any) -> Any:
    return jax.tree.map(lambda p: np.ones((1,), bool), params)


def training_macs(density: Schedule, dense_gradient: Schedule, steps: int) -> tuple[float, float]:
    """Training MACs of a schedule as a fraction of dense training's, and the mean density.

    A step costs a forward pass, the gradient of the activations and that of the weights. The first
    two use the living weights; the third is dense in the fraction of steps where a score looks at
    dormant weights too: dense training is 3·f_D a sample, RigL (3·f_S·ΔT + 2·f_S + f_D) / (ΔT + 1).

    Args:
      density: Living fraction of the MACs at a step.
      dense_gradient: Fraction of steps around a step that need the dense gradient.
      steps: Length of the run.

    Returns:
      `(fraction, mean density)`.
    """
    at = jnp.arange(steps)
    alive = np.array(jax.vmap(density)(at), np.float64)
    dense = np.array(jax.vmap(dense_gradient)(at), np.float64)
    return float(np.mean((2 * alive + dense + (1 - dense) * alive) / 3)), float(np.mean(alive))
