"""A small residual net of the CIFAR kind."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp

from gpnas.models.layers import conv_without_bias


class ResNet(nn.Module):
    """Residual net with three stages of basic blocks; depth is 6·blocks + 2.

    Attributes:
      num_classes: Classes.
      blocks: Residual blocks a stage; 1 gives ResNet-8, 3 gives ResNet-20.
      width: Channels of the first stage; doubled at the second and third.
      axis_name: Axis over which batch statistics are averaged under `pmap`.

    References:
      He et al. 2016 (arXiv:1512.03385), section 4.2.
    """

    num_classes: int = 10
    blocks: int = 1
    width: int = 16
    dtype: jax.typing.DTypeLike = jnp.float32
    conv: str = "xla"
    axis_name: str | None = None

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
        """(batch, height, width, channels) → (batch, num_classes) float32 logits."""
        conv = conv_without_bias(self.dtype, self.conv)
        norm = functools.partial(
            nn.BatchNorm,
            use_running_average=not train,
            momentum=0.9,
            dtype=self.dtype,
            axis_name=self.axis_name,
        )
        x = nn.relu(norm()(conv(self.width, (3, 3))(images)))
        for stage in range(3):
            for block in range(self.blocks):
                channels = self.width * 2**stage
                strides = (2, 2) if stage and not block else (1, 1)
                y = nn.relu(norm()(conv(channels, (3, 3), strides)(x)))
                y = norm(scale_init=nn.initializers.zeros)(conv(channels, (3, 3))(y))
                if x.shape != y.shape:
                    x = norm()(conv(channels, (1, 1), strides)(x))
                x = nn.relu(x + y)
        return nn.Dense(self.num_classes, dtype=self.dtype)(x.mean((1, 2))).astype(jnp.float32)
