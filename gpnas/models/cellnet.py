"""Cells whose edges may hold several operations, or none: a supernet that grows and is pruned."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp

from gpnas.errors import UserError
from gpnas.models.cell201 import EDGES, OPERATIONS, Layers, operation, skeleton
from gpnas.models.layers import ReLU, conv_without_bias

Operation = tuple[int, str]
EVERY: tuple[Operation, ...] = tuple(
    (edge, name) for edge in range(len(EDGES)) for name in OPERATIONS if name != "none"
)


class CellNet(nn.Module):
    """Three stages of cells of four nodes; an edge adds up its operations, each with a strength.

    With all operations it is the supernet; with few it is the network that was found. All cells
    have the same operations.

    Attributes:
      num_classes: Classes.
      channels: Of the first stage; doubled at the second and third.
      cells: Cells a stage.
      operations: (edge, operation) of those that there are; edges as in `cell201.EDGES`.
      axis_name: Axis over which batch statistics are averaged under `pmap`.

    References:
      The cell and what is around it are those of NAS-Bench-201, Dong & Yang 2020
      (arXiv:2001.00326), with more than one operation on an edge.
    """

    num_classes: int = 10
    channels: int = 16
    cells: int = 1
    operations: tuple[Operation, ...] = EVERY
    dtype: jax.typing.DTypeLike = jnp.float32
    conv: str = "xla"
    axis_name: str | None = None

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
        """(batch, height, width, channels) → (batch, num_classes) float32 logits.

        Raises:
          UserError: If an operation is none of `EVERY`.
        """
        for chosen in self.operations:
            if tuple(chosen) not in EVERY:
                names = ", ".join(name for name in OPERATIONS if name != "none")
                allowed = f"an edge from 0 to {len(EDGES) - 1} and one of {names}"
                raise UserError("operations", chosen, allowed)
        norm = functools.partial(
            nn.BatchNorm,
            use_running_average=not train,
            momentum=0.9,
            dtype=self.dtype,
            axis_name=self.axis_name,
        )
        layers = Layers(conv_without_bias(self.dtype, self.conv), norm)

        def edge(cell: nn.Module, at: int, x: jax.Array) -> jax.Array:
            positive = ReLU(name=f"edge{at}_relu")(x)
            total = jnp.zeros_like(x)
            for name in (name for here, name in self.operations if here == at):
                strength = cell.param(f"edge{at}_{name}_strength", nn.initializers.ones, (1,))
                out = operation(name, at, layers, x, positive)
                total += strength.astype(x.dtype).reshape(1, 1, 1, 1) * out
            return total

        return skeleton(layers, edge, self.num_classes, self.channels, self.cells, images)


def part(chosen: Operation) -> str:
    """The name of an operation on an edge, with which its parameters' names begin."""
    return f"edge{chosen[0]}_{chosen[1]}"
