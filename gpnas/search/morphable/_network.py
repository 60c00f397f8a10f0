"""The network of an architecture; its parameters are named by layer ids."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from gpnas.models import batch_norm, conv_without_bias, max_pool
from gpnas.search.morphable._architecture import IMAGE, Layer, load_architecture

EPSILON = 1e-5  # of batch norm


def name_of(layer_id: int) -> str:
    """Returns the key of a layer's parameters and statistics."""
    return f"layer_{layer_id}"


class Morphable(nn.Module):
    """A network that can grow and shrink.

    Attributes:
      architecture: A checked `Architecture`.
      dtype: Dtype of the computation; parameters are float32.
      conv: A key of `CONVOLUTIONS`.
      axis_name: A mapped axis over which batch statistics are averaged.
    """

    architecture: Any
    dtype: jax.typing.DTypeLike = jnp.float32
    conv: str = "xla"
    axis_name: str | None = None

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
        """(batch, height, width, channels) → (batch, classes) float32 logits."""
        own = load_architecture(self.architecture)
        found, x = {IMAGE: images}, images
        for layer in own.layers:
            block = _Block(layer, self.dtype, self.conv, self.axis_name, name=name_of(layer.id))
            found[layer.id] = x = block(*(found[i] for i in layer.inputs), train=train)
        x = x.mean((1, 2)) if x.ndim == 4 else x
        return nn.Dense(own.classes, dtype=self.dtype, name="output")(x).astype(jnp.float32)


class _Block(nn.Module):
    layer: Layer
    dtype: jax.typing.DTypeLike
    conv: str
    axis_name: str | None

    @nn.compact
    def __call__(self, *inputs: jax.Array, train: bool) -> jax.Array:
        return _FORWARD[self.layer.op](self, train, *inputs)


def _conv(block: _Block, train: bool, x: jax.Array) -> jax.Array:
    side = block.layer.kernel
    conv = conv_without_bias(block.dtype, block.conv)
    return _norm(block, train, conv(block.layer.width, (side, side), name="conv")(x))


def _separable(block: _Block, train: bool, x: jax.Array) -> jax.Array:
    side, channels = block.layer.kernel, x.shape[-1]
    conv = conv_without_bias(block.dtype, block.conv)
    depthwise = conv(channels, (side, side), feature_group_count=channels, name="depthwise")
    pointwise = conv(block.layer.width, (1, 1), name="pointwise")
    return _norm(block, train, pointwise(depthwise(x)))


def _norm(block: _Block, train: bool, x: jax.Array) -> jax.Array:
    norm = batch_norm(train, block.dtype, block.axis_name)
    return nn.relu(norm(epsilon=EPSILON, name="norm")(x))


def _dense(block: _Block, train: bool, x: jax.Array) -> jax.Array:
    del train
    flat = x.reshape(x.shape[0], -1)
    return nn.relu(nn.Dense(block.layer.width, dtype=block.dtype, name="dense")(flat))


def _add(block: _Block, train: bool, a: jax.Array, b: jax.Array) -> jax.Array:
    del train
    weight = block.param("weight", nn.initializers.zeros, ()).astype(block.dtype)
    return (1 - weight) * a + weight * b


def _concat(block: _Block, train: bool, a: jax.Array, b: jax.Array) -> jax.Array:
    del block, train
    return jnp.concatenate([a, b], -1)


def _pool(block: _Block, train: bool, x: jax.Array) -> jax.Array:
    del block, train
    return max_pool(x)


_FORWARD: dict[str, Callable[..., jax.Array]] = {
    "conv": _conv,
    "separable": _separable,
    "dense": _dense,
    "add": _add,
    "concat": _concat,
    "pool": _pool,
}
