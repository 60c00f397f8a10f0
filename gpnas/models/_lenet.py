"""The two LeNets commonly used to compare pruning methods."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from gpnas.models._layers import image_layout, max_pool


class LeNet300(nn.Module):
    """LeNet-300-100: two hidden layers; 266,200 weights on 28 × 28 images and ten classes.

    Attributes:
      num_classes: Number of outputs.
      widths: Units of each hidden layer, one or more.
      dtype: Dtype of the computation; parameters are float32.

    References:
      LeCun et al. 1998, Gradient-based learning applied to document recognition.
    """

    num_classes: int = 10
    widths: tuple[int, ...] = (300, 100)
    dtype: jax.typing.DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
        """(batch, height, width, channels) → (batch, num_classes) float32 logits."""
        del train
        x = images.reshape(images.shape[0], -1)
        for width in self.widths:
            x = nn.relu(nn.Dense(width, dtype=self.dtype)(x))
        return nn.Dense(self.num_classes, dtype=self.dtype)(x).astype(jnp.float32)


class LeNet5(nn.Module):
    """Caffe's LeNet-5, 20-50-500; 430,500 weights on 28 × 28 × 1 images and ten classes.

    Attributes:
      num_classes: Number of outputs.
      widths: Filters of the two convolutions, and units of the hidden dense layer.
      dtype: Dtype of the computation; parameters are float32.
      conv: "xla" or "im2col", the implementation of convolutions.
    """

    num_classes: int = 10
    widths: tuple[int, int, int] = (20, 50, 500)
    dtype: jax.typing.DTypeLike = jnp.float32
    conv: str = "xla"

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
        """(batch, height, width, channels) → (batch, num_classes) float32 logits."""
        layout = image_layout(self.conv, train, self.dtype, None, bias=True)
        x = layout.enter(images)
        for number, width in enumerate(self.widths[:2]):
            x = max_pool(layout.conv(width, (5, 5), padding="VALID", name=f"Conv_{number}")(x))
        x = layout.leave(x)
        x = nn.relu(nn.Dense(self.widths[2], dtype=self.dtype)(x.reshape(x.shape[0], -1)))
        return nn.Dense(self.num_classes, dtype=self.dtype)(x).astype(jnp.float32)
