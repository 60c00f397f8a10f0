"""Gaussian noise on every weight, whose size is learned: variational dropout.

The posterior of a weight is N(θ, σ²); what matters is its noise-to-signal ratio α = σ²/θ². Noise is
drawn for each output of a layer rather than for each weight (local reparameterisation), which a
Flax interceptor does for any model: a layer with a `kernel` is called a second time on the squares.
"""

import zlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from gpnas.gates.gate import Forward, GateContext, Gates, Intercept, Leaves, Living
from gpnas.masks import maskable
from gpnas.masks.schedule import Schedule

K1, K2, K3 = 0.63576, 1.87320, 1.48695
_TINY = 1e-8
_MOST = 8.0


def log_alpha(weight: jax.Array, log_variance: jax.Array) -> jax.Array:
    """log α = log σ² − log θ², clipped to ±8; shape and dtype of the weight."""
    return jnp.clip(log_variance - jnp.log(weight * weight + _TINY), -_MOST, _MOST)


def variance(weight: jax.Array, log_variance: jax.Array) -> jax.Array:
    """σ²; shape and dtype of the weight."""
    del weight
    return jnp.exp(log_variance)


@jax.custom_jvp
def divergence(weight: jax.Array, log_variance: jax.Array) -> jax.Array:
    """KL(q ‖ log-uniform prior) of each weight, in nats, up to an error of about 0.01.

    References:
      Molchanov et al. 2017 (arXiv:1701.05369), equation 14.
    """
    ratio = log_alpha(weight, log_variance)
    negative = K1 * jax.nn.sigmoid(K2 + K3 * ratio) - 0.5 * jax.nn.softplus(-ratio) - K1
    return -negative


@divergence.defjvp
def _slope(primals: tuple, tangents: tuple) -> tuple:
    """Its derivative by hand, which costs a CPU less than half of what tracing finds."""
    (weight, log_variance), (d_weight, d_log_variance) = primals, tangents
    square = weight * weight + _TINY
    ratio = log_variance - jnp.log(square)
    odds = jnp.exp(-K2 - K3 * ratio)
    slope = -K1 * K3 * odds / (1 + odds) ** 2 - 0.5 * square / (square + jnp.exp(log_variance))
    slope = jnp.where(jnp.abs(ratio) < _MOST, slope, 0)
    change = d_log_variance - 2 * weight / square * d_weight
    return divergence(weight, log_variance), slope * change


def noise(variances: Leaves, key: jax.Array) -> tuple[Intercept, dict[str, int]]:
    """An interceptor that adds to each layer's output the noise that its weights' would amount to.

    Args:
      variances: Variance of each weight, by path of the kernel ("Dense_0/kernel").
      key: Random key.

    Returns:
      For `flax.linen.intercept_methods`, and a dict of how often each layer was called. It serves
      any layer that is linear in a parameter `kernel` and has a field `use_bias`, such as
      `nn.Dense` and `nn.Conv`.
    """
    calls = dict.fromkeys(variances, 0)
    inside = False  # the second call of a layer

    def intercept(layer: Any, args: tuple, kwargs: dict, context: Any) -> Any:
        nonlocal inside
        out = layer(*args, **kwargs)
        path = "/".join((*(context.module.path if context.module.scope else ()), "kernel"))
        if inside or path not in variances or context.method_name != "__call__":
            return out
        inside = True
        twin = context.module.clone(parent=None, use_bias=False)
        squares = twin.apply({"params": {"kernel": variances[path]}}, args[0] * args[0])
        inside = False
        own = jax.random.fold_in(key, zlib.crc32(f"{path} {calls[path]}".encode()))
        calls[path] += 1
        return out + jax.random.normal(own, out.shape, out.dtype) * jnp.sqrt(squares + _TINY)

    return intercept, calls


def variational(
    weight: Schedule, images: int, log_variance: float = -10.0, masked: bool = True
) -> Gates:
    """Gates of variational dropout: log σ² of each weight.

    The loss is the mean cross-entropy plus `weight(step)` · ΣKL / `images`, over living weights.

    Args:
      weight: Of the divergence, at a step; 1 is the variational bound.
      images: How many there are to train on.
      log_variance: First value of log σ².
      masked: Whether masked weights have no noise and no part in the divergence.

    References:
      Molchanov et al. 2017 (arXiv:1701.05369), equations 9 and 14.
    """

    def init_fn(masks: Any, params: Any, key: jax.Array) -> dict[str, jax.Array]:
        del key
        return {p: jnp.full_like(w, log_variance) for p, w in maskable(masks, params).items()}

    def loss_fn(
        forward: Forward, params: Any, gates: dict[str, jax.Array], ctx: GateContext
    ) -> tuple[jax.Array, Any]:
        weights, alive = maskable(ctx.masks, params), maskable(ctx.masks) if masked else {}

        def each(f: Callable) -> dict[str, jax.Array]:
            return {p: jnp.where(alive.get(p, True), f(w, gates[p]), 0) for p, w in weights.items()}

        intercept, calls = noise(each(variance), ctx.key)
        loss, out = forward.loss(params, intercept)
        if idle := [path for path, times in calls.items() if not times]:
            raise ValueError(
                f"variational: got {idle[0]}, allowed: kernels of layers that are used"
            )
        total = sum(jnp.sum(leaf) for leaf in each(divergence).values())
        return loss + weight(ctx.step) * total / images, out

    return Gates(init_fn, loss_fn, lambda params, gates, masks, step: params, masked)


def certain(threshold: float) -> Living:
    """Which weights have a log α below a threshold, for `follow`."""

    def living(weights: Leaves, gates: Any) -> dict[str, jax.Array]:
        return {p: log_alpha(w, gates[p]) < threshold for p, w in weights.items()}

    return living
