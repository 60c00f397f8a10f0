"""The networks of NAS-Bench-201: one of five operations on each of six edges of a small cell."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from gpnas.errors import UserError
from gpnas.models._layers import ReLU, avg_pool_3x3, batch_norm, conv_without_bias

EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))  # from node, to node
SIDES = {"conv1": 1, "conv3": 3}  # kernel sizes of operations with parameters
STAGES = 3
OPERATIONS = ("none", "skip", "conv1", "conv3", "pool3")


class Layers(NamedTuple):
    """Constructors of layers, without the fields that differ between layers."""

    conv: Callable[..., nn.Module]
    norm: Callable[..., nn.Module]


#: `(module, index in EDGES, input) → output`.
Edge = Callable[[nn.Module, int, jax.Array], jax.Array]


class ConvNorm(nn.Module):
    """Convolution without bias, then a norm; `side` is the kernel size."""

    layers: Layers
    channels: int
    side: int
    stride: int = 1

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """(batch, height, width, any) → (batch, ⌈height / stride⌉, …, channels)."""
        window, strides = (self.side, self.side), (self.stride, self.stride)
        padding = [(self.side // 2, self.side // 2)] * 2
        x = self.layers.conv(self.channels, window, strides, padding, name="conv")(x)
        return self.layers.norm(name="norm")(x)


def operation(name: str, edge: int, layers: Layers, x: jax.Array, positive: jax.Array) -> jax.Array:
    """Applies one operation of one edge, inside a compact module.

    Args:
      name: One of `OPERATIONS`.
      edge: Its index in `EDGES`; part of the names of its parameters.
      layers: Constructors of layers.
      x: (batch, height, width, channels).
      positive: ReLU of x, the input of convolutions.

    Returns:
      An array of x's shape.
    """
    if name == "none":
        return jnp.zeros_like(x)
    if name == "skip":
        return x
    if name == "pool3":
        return avg_pool_3x3(x)
    return ConvNorm(layers, x.shape[-1], SIDES[name], name=f"edge{edge}_{name}")(positive)


class SearchedCell(nn.Module):
    """Four nodes, each the sum of its incoming edges; the last node is the output."""

    @nn.compact
    def __call__(self, x: jax.Array, edge: Edge) -> jax.Array:
        """(batch, height, width, channels) → the same; `edge` is `(self, edge, array) → array`."""
        nodes = [x]
        for node in (1, 2, 3):
            into = [(at, start) for at, (start, end) in enumerate(EDGES) if end == node]
            nodes.append(sum((edge(self, at, nodes[i]) for at, i in into), jnp.zeros_like(x)))
        return nodes[-1]


class Reduction(nn.Module):
    """The residual block between stages: halves height and width, doubles channels."""

    layers: Layers

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """(batch, height, width, channels) → (batch, ⌈height / 2⌉, ⌈width / 2⌉, 2 · channels)."""
        channels = 2 * x.shape[-1]
        y = ConvNorm(self.layers, channels, 3, 2, name="down")(ReLU()(x))
        y = ConvNorm(self.layers, channels, 3, name="same")(ReLU()(y))
        x = nn.avg_pool(x, (2, 2), (2, 2), "SAME")
        return y + self.layers.conv(channels, (1, 1), name="shortcut")(x)


def skeleton(
    layers: Layers, edge: Edge, num_classes: int, channels: int, cells: int, images: jax.Array
) -> jax.Array:
    """Applies the fixed part of the network around the edges, inside a compact module.

    Args:
      layers: Constructors of layers.
      edge: `(cell, edge, array) → array of the same shape`, called for each edge of each cell.
      num_classes: Number of classes.
      channels: Channels of the first stage; doubled at the second and third.
      cells: Searched cells per stage.
      images: (batch, height, width, channels).

    Returns:
      (batch, num_classes) float32 logits.
    """
    x = ConvNorm(layers, channels, 3, name="stem")(images)
    for stage in range(STAGES):
        if stage:
            x = Reduction(layers, name=f"reduction{stage}")(x)
        for cell in range(cells):
            x = SearchedCell(name=f"stage{stage}_cell{cell}")(x, edge)
    x = ReLU()(layers.norm(name="norm")(x)).mean((1, 2))
    return nn.Dense(num_classes, dtype=x.dtype, name="classifier")(x).astype(jnp.float32)


def check_operations(architecture: Sequence[str]) -> None:
    """Checks that there is one operation per edge.

    Raises:
      UserError: If not.
    """
    if len(architecture) != len(EDGES) or not set(architecture) <= set(OPERATIONS):
        allowed = f"{len(EDGES)} operations of {', '.join(OPERATIONS)}"
        raise UserError("architecture", architecture, allowed)


class Cell201(nn.Module):
    """A network of NAS-Bench-201; the benchmark's have 16 channels and 5 cells per stage.

    Attributes:
      architecture: Operations of the edges 0→1, 0→2, 1→2, 0→3, 1→3, 2→3, each of `OPERATIONS`.
      num_classes: Number of classes.
      channels: Channels of the first stage; doubled at the second and third.
      cells: Searched cells per stage, all of the same architecture.
      dtype: Dtype of the computation.
      conv: A key of `CONVOLUTIONS`.
      axis_name: A mapped axis over which batch statistics are averaged.

    References:
      Dong & Yang 2020, NAS-Bench-201 (arXiv:2001.00326), section 2.1, figure 1.
    """

    architecture: tuple[str, ...]
    num_classes: int = 10
    channels: int = 16
    cells: int = 5
    dtype: jax.typing.DTypeLike = jnp.float32
    conv: str = "xla"
    axis_name: str | None = None

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
        """(batch, height, width, channels) → (batch, num_classes) float32 logits.

        Raises:
          UserError: If the architecture is not six of the operations.
        """
        check_operations(self.architecture)
        layers = Layers(
            conv_without_bias(self.dtype, self.conv),
            batch_norm(train, self.dtype, self.axis_name),
        )

        def edge(cell: nn.Module, at: int, x: jax.Array) -> jax.Array:
            name = self.architecture[at]
            positive = ReLU(name=f"edge{at}_relu")(x) if name in SIDES else x
            return operation(name, at, layers, x, positive)

        return skeleton(layers, edge, self.num_classes, self.channels, self.cells, images)
