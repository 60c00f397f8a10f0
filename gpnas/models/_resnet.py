"""Residual networks for CIFAR."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from gpnas.errors import UserError
from gpnas.models._layers import image_layout

STAGES = 3


class ResNet(nn.Module):
    """Residual network with three stages of basic blocks; its depth is 6·blocks + 2.

    Attributes:
      num_classes: Number of classes.
      blocks: Residual blocks per stage; 1 gives ResNet-8, 3 gives ResNet-20.
      width: Channels of the first stage; doubled at the second and third.
      streams: Channels of the residual stream of each stage; overrides `width`.
      inner: Channels inside each of the 3·blocks blocks; overrides those of the stage. 0 removes
        the block, which leaves the identity or the 1 × 1 shortcut.
      dtype: Dtype of the computation.
      conv: A key of `CONVOLUTIONS`.
      axis_name: A mapped axis over which batch statistics are averaged.

    References:
      He et al. 2016 (arXiv:1512.03385), section 4.2.
    """

    num_classes: int = 10
    blocks: int = 1
    width: int = 16
    streams: tuple[int, ...] = ()
    inner: tuple[int, ...] = ()
    dtype: jax.typing.DTypeLike = jnp.float32
    conv: str = "xla"
    axis_name: str | None = None

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
        """(batch, height, width, channels) → (batch, num_classes) float32 logits.

        Raises:
          UserError: If `streams` or `inner` has the wrong length.
        """
        layout = image_layout(self.conv, train, self.dtype, self.axis_name)
        conv, norm = layout.conv, layout.norm
        streams = self.streams or tuple(self.width * 2**stage for stage in range(STAGES))
        inner = self.inner or tuple(width for width in streams for _ in range(self.blocks))
        counts = {"streams": STAGES, "inner": STAGES * self.blocks}
        for (field, count), got in zip(counts.items(), (streams, inner), strict=True):
            if len(got) != count:
                raise UserError(field, got, f"{count} numbers, or none")
        x = layout.enter(images)
        x = nn.relu(norm(name="stem_norm")(conv(streams[0], (3, 3), name="stem")(x)))
        for number, channels in enumerate(inner):
            stage, block = divmod(number, self.blocks)
            name = f"stage{stage}_block{block}"
            shortcut = bool(stage) and not block
            strides = (2, 2) if shortcut else (1, 1)
            y = None
            if channels:
                y = Block(channels, streams[stage], conv, norm, strides, name=name)(x)
            if shortcut:
                short = conv(streams[stage], (1, 1), strides, name=f"{name}_shortcut")(x)
                x = norm(name=f"{name}_shortcut_norm")(short)
            x = nn.relu(x if y is None else x + y)
        x = layout.leave(x.mean((-3, -2), keepdims=True)).squeeze((1, 2))
        return nn.Dense(self.num_classes, dtype=self.dtype, name="classifier")(x).astype(
            jnp.float32
        )


class Block(nn.Module):
    """The residual branch of a basic block: two 3 × 3 convolutions with batch norm."""

    inner: int
    channels: int
    conv: Callable[..., Callable[[jax.Array], jax.Array]]
    norm: Callable[..., nn.Module]
    strides: tuple[int, int]

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """(…, height, width, any) → (…, ⌈height / stride⌉, ⌈width / stride⌉, any)."""
        y = nn.relu(
            self.norm(name="norm1")(self.conv(self.inner, (3, 3), self.strides, name="conv1")(x))
        )
        last = self.norm(scale_init=nn.initializers.zeros, name="norm2")
        return last(self.conv(self.channels, (3, 3), name="conv2")(y))
