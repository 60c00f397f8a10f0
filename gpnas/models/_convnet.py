"""A small convolutional network with batch normalization."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from gpnas.models._layers import batch_norm, image_layout, max_pool


class ConvNet(nn.Module):
    """Three 3 × 3 convolutions and a hidden layer, each with batch normalization.

    The first convolution is followed by 2 × 2 max-pooling, and the third one has stride 2.

    Attributes:
      num_classes: Number of classes.
      widths: Channels of the convolutions, and neurons of the hidden layer.
      dtype: Dtype of the computation.
      conv: A key of `CONVOLUTIONS`.
      axis_name: A mapped axis over which batch statistics are averaged.
    """

    num_classes: int = 10
    widths: tuple[int, int, int, int] = (16, 32, 32, 64)
    dtype: jax.typing.DTypeLike = jnp.float32
    conv: str = "xla"
    axis_name: str | None = None

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
        """(batch, height, width, channels) → (batch, num_classes) float32 logits."""
        layout = image_layout(self.conv, train, self.dtype, self.axis_name)
        conv, norm = layout.conv, layout.norm
        x = layout.enter(images)
        x = max_pool(nn.relu(norm(name="norm1")(conv(self.widths[0], (3, 3), name="conv1")(x))))
        x = nn.relu(norm(name="norm2")(conv(self.widths[1], (3, 3), name="conv2")(x)))
        x = nn.relu(norm(name="norm3")(conv(self.widths[2], (3, 3), (2, 2), name="conv3")(x)))
        x = layout.leave(x)
        x = nn.Dense(self.widths[3], use_bias=False, dtype=self.dtype, name="hidden")(
            x.reshape(x.shape[0], -1)
        )
        x = nn.relu(batch_norm(train, self.dtype, self.axis_name)(name="norm4")(x))
        return nn.Dense(self.num_classes, dtype=self.dtype, name="classifier")(x).astype(
            jnp.float32
        )
