"""Cells with any number of operations per edge: a supernet that is grown and pruned."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from gpnas.errors import UserError
from gpnas.models._layers import ReLU, batch_norm, conv_without_bias
from gpnas.models.cell201 import EDGES, OPERATIONS, Layers, operation, skeleton

Operation = tuple[int, str]
ALL_OPERATIONS: tuple[Operation, ...] = tuple(
    (edge, name) for edge in range(len(EDGES)) for name in OPERATIONS if name != "none"
)


class CellNet(nn.Module):
    """Three stages of cells with four nodes; an edge sums its operations, scaled by strengths.

    With all operations it is the supernet, with few the network found. All cells have the same
    operations.

    Attributes:
      num_classes: Number of classes.
      channels: Channels of the first stage; doubled at the second and third.
      cells: Cells per stage.
      operations: (edge, operation) of all operations present; edges as in `cell201.EDGES`.
      dtype: Dtype of the computation.
      conv: A key of `CONVOLUTIONS`.
      axis_name: A mapped axis over which batch statistics are averaged.

    References:
      Dong & Yang 2020, NAS-Bench-201 (arXiv:2001.00326), for the cell and the network around it.
    """

    num_classes: int = 10
    channels: int = 16
    cells: int = 1
    operations: tuple[Operation, ...] = ALL_OPERATIONS
    dtype: jax.typing.DTypeLike = jnp.float32
    conv: str = "xla"
    axis_name: str | None = None

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
        """(batch, height, width, channels) → (batch, num_classes) float32 logits.

        Raises:
          UserError: If an operation is none of `ALL_OPERATIONS`.
        """
        for chosen in self.operations:
            if tuple(chosen) not in ALL_OPERATIONS:
                names = ", ".join(name for name in OPERATIONS if name != "none")
                allowed = f"an edge from 0 to {len(EDGES) - 1} and one of {names}"
                raise UserError("operations", chosen, allowed)
        norm = batch_norm(train, self.dtype, self.axis_name)
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


def prefix(chosen: Operation) -> str:
    """Returns the prefix of the names of an operation's parameters."""
    return f"edge{chosen[0]}_{chosen[1]}"
