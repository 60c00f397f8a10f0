"""Networks of DARTS: stacks of two kinds of searched cells, normal and reduction."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from gpnas.errors import UserError
from gpnas.models._layers import ReLU, avg_pool_3x3, batch_norm, conv_without_bias, max_pool

OPERATIONS = (
    "none", "max_pool3", "avg_pool3", "skip", "sep_conv3", "sep_conv5", "dil_conv3", "dil_conv5",
)  # fmt: skip
# For each node, two pairs (operation, input). Input 0 is the output of the second-to-last cell, 1
# that of the last cell, 2 the first node, and so on.
Nodes = tuple[tuple[tuple[str, int], ...], ...]


class Genotype(NamedTuple):
    """A hashable architecture: nodes of the normal and of the reduction cell."""

    normal: Nodes
    reduction: Nodes


class DartsNet(nn.Module):
    """A stack of cells, with reduction cells at one third and two thirds of its depth.

    Attributes:
      architecture: Both cells; four nodes each in the paper, at least one here.
      num_classes: Number of classes.
      channels: Channels of a node in the first cells; doubled in each reduction cell.
      layers: Number of cells.
      dtype: Dtype of the computation.
      axis_name: A mapped axis over which batch statistics are averaged.

    References:
      Liu et al. 2019, DARTS (arXiv:1806.09055), sections 2.1 and 3.1; without its auxiliary head
      and drop path.
    """

    architecture: Genotype
    num_classes: int = 10
    channels: int = 16
    layers: int = 8
    dtype: jax.typing.DTypeLike = jnp.float32
    axis_name: str | None = None

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
        """(batch, height, width, channels) → (batch, num_classes) float32 logits.

        Raises:
          UserError: If the architecture is invalid.
        """
        for nodes in self.architecture:
            check_nodes(nodes)
        conv = conv_without_bias(self.dtype, "xla")
        norm = batch_norm(train, self.dtype, self.axis_name)
        x = norm()(conv(3 * self.channels, (3, 3))(images))
        before, channels = x, self.channels
        for layer in range(self.layers):
            reduces = layer in (self.layers // 3, 2 * self.layers // 3)
            channels *= 2 if reduces else 1
            nodes = self.architecture[int(reduces)]
            before, x = x, Cell(nodes, channels, 2 if reduces else 1, conv, norm)(before, x)
        return nn.Dense(self.num_classes, dtype=self.dtype)(x.mean((1, 2))).astype(jnp.float32)


class Cell(nn.Module):
    """A cell: each node is the sum of two operations; the output concatenates all nodes."""

    nodes: Nodes
    channels: int
    stride: int
    conv: Callable[..., nn.Module]
    norm: Callable[..., nn.Module]

    @nn.compact
    def __call__(self, before: jax.Array, last: jax.Array) -> jax.Array:
        """Outputs of the last two cells → (batch, …, nodes · channels)."""
        fit = functools.partial(_relu_conv_norm, self.conv, self.norm, self.channels)
        reduced = before.shape[1] != last.shape[1]  # the last cell was a reduction
        states = [fit(before, 2 if reduced else 1), fit(last, 1)]
        for node in self.nodes:
            into = [
                self._operation(name, states[at], self.stride if at < 2 else 1) for name, at in node
            ]
            states.append(functools.reduce(jnp.add, into))
        return jnp.concatenate(states[2:], -1)

    def _operation(self, name: str, x: jax.Array, stride: int) -> jax.Array:
        if name == "none":
            return jnp.zeros_like(x[:, ::stride, ::stride])
        if name == "max_pool3":
            return max_pool(x, 3, stride, 1)
        if name == "avg_pool3":
            return avg_pool_3x3(x, stride)
        if name == "skip":
            if stride == 1:
                return x
            return _relu_conv_norm(self.conv, self.norm, self.channels, x, stride)
        side, dilation = int(name[-1]), 2 if name.startswith("dil") else 1
        x = self._separable(x, side, stride, dilation)
        return x if dilation == 2 else self._separable(x, side, 1, 1)

    def _separable(self, x: jax.Array, side: int, stride: int, dilation: int) -> jax.Array:
        reach = dilation * (side // 2)
        x = self.conv(
            self.channels,
            (side, side),
            (stride, stride),
            [(reach, reach)] * 2,
            kernel_dilation=dilation,
            feature_group_count=self.channels,
        )(ReLU()(x))
        return self.norm()(self.conv(self.channels, (1, 1))(x))


def _relu_conv_norm(
    conv: Callable[..., nn.Module],
    norm: Callable[..., nn.Module],
    channels: int,
    x: jax.Array,
    stride: int,
) -> jax.Array:
    """ReLU, 1 × 1 convolution, norm; at stride 2, half of the channels come from odd positions."""
    x = ReLU()(x)
    if stride == 1:
        return norm()(conv(channels, (1, 1))(x))
    shifted = jnp.pad(x[:, 1:, 1:], ((0, 0), (0, 1), (0, 1), (0, 0)))
    even = conv(channels // 2, (1, 1), (2, 2))(x)
    odd = conv(channels - channels // 2, (1, 1), (2, 2))(shifted)
    return norm()(jnp.concatenate([even, odd], -1))


def check_nodes(nodes: Nodes) -> None:
    """Checks the nodes of a cell.

    Raises:
      UserError: For an unknown operation, or an input that is not an earlier node.
    """
    if not nodes:
        raise UserError("architecture", nodes, "one node or more per cell")
    for number, node in enumerate(nodes):
        for name, at in node:
            if name not in OPERATIONS or not 0 <= at < number + 2:
                allowed = f"{', '.join(OPERATIONS)}; from 0 to {number + 1} at node {number}"
                raise UserError("architecture", (name, at), allowed)
