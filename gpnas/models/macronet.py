"""The networks of NAS-Bench-Macro: eight blocks, each an identity or a MobileNetV2 block."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from gpnas.errors import UserError
from gpnas.models._layers import ReLU, batch_norm, conv_without_bias

STAGES = (2, 3, 3)  # blocks per stage; the first one halves the side and doubles the channels
BLOCKS = {"identity": (0, 1), "mb3_k3": (3, 3), "mb6_k5": (6, 5)}  # expansion, side of the kernel


class MacroNet(nn.Module):
    """A network of NAS-Bench-Macro; the benchmark's have 32 channels.

    An identity that has to change the shape is a 1 × 1 convolution with batch norm.

    Attributes:
      architecture: The eight blocks, each of `BLOCKS`.
      num_classes: Number of classes.
      channels: Channels of the stem; doubled at the first block of each stage.
      head: Channels of the last convolution.
      dtype: Dtype of the computation.
      axis_name: A mapped axis over which batch statistics are averaged.

    References:
      Su et al. 2021, Prioritized Architecture Sampling with Monto-Carlo Tree Search
      (arXiv:2103.11922), section 4; blocks of Sandler et al. 2018, MobileNetV2 (arXiv:1801.04381),
      with ReLU.
    """

    architecture: tuple[str, ...]
    num_classes: int = 10
    channels: int = 32
    head: int = 1280
    dtype: jax.typing.DTypeLike = jnp.float32
    axis_name: str | None = None

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
        """(batch, height, width, channels) → (batch, num_classes) float32 logits.

        Raises:
          UserError: If the architecture is not eight of the blocks.
        """
        if len(self.architecture) != sum(STAGES) or not set(self.architecture) <= set(BLOCKS):
            allowed = f"{sum(STAGES)} blocks of {', '.join(BLOCKS)}"
            raise UserError("architecture", self.architecture, allowed)
        plain = conv_without_bias(self.dtype, "xla")
        norm = batch_norm(train, self.dtype, self.axis_name)

        def conv(
            x: jax.Array, channels: int, side: int, stride: int = 1, groups: int = 1
        ) -> jax.Array:
            padding = [(side // 2, side // 2)] * 2
            layer = plain(
                channels, (side, side), (stride, stride), padding, feature_group_count=groups
            )
            return norm()(layer(x))

        x = ReLU()(conv(images, self.channels, 3))
        firsts = {sum(STAGES[:stage]) for stage in range(len(STAGES))}
        for number, name in enumerate(self.architecture):
            stride = 2 if number in firsts else 1
            x = _block(conv, name, stride, x)
        x = ReLU()(conv(x, self.head, 1)).mean((1, 2))
        return nn.Dense(self.num_classes, dtype=self.dtype)(x).astype(jnp.float32)


def _block(conv: Callable[..., jax.Array], name: str, stride: int, x: jax.Array) -> jax.Array:
    """Applies one block, inside a compact module; a stride of 2 doubles the channels."""
    expansion, side = BLOCKS[name]
    inside, channels = expansion * x.shape[-1], stride * x.shape[-1]
    if not expansion:
        return x if stride == 1 else conv(x, channels, 1, stride)
    y = ReLU()(conv(x, inside, 1))
    y = ReLU()(conv(y, inside, side, stride, inside))
    y = conv(y, channels, 1)
    return x + y if stride == 1 else y
