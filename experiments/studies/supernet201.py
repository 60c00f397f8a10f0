"""All networks of NAS-Bench-201 with shared weights, in one compiled program."""

import functools
from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from gpnas.models import ReLU, conv_without_bias
from gpnas.models.cell201 import OPERATIONS, SIDES, Layers, check_operations, operation, skeleton


class BatchStatisticsNorm(nn.Module):
    """Batch norm without running statistics: evaluation also uses those of the batch.

    Its parameters are those of `flax.linen.BatchNorm`.
    """

    epsilon: float = 1e-5
    dtype: jax.typing.DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """(batch, height, width, channels) → the same."""
        scale = self.param("scale", nn.initializers.ones, x.shape[-1:])
        bias = self.param("bias", nn.initializers.zeros, x.shape[-1:])
        x = jax.nn.standardize(x.astype(jnp.float32), (0, 1, 2), epsilon=self.epsilon)
        return (x * scale + bias).astype(self.dtype)


class Supernet201(nn.Module):
    """All networks of NAS-Bench-201: all operations on all edges, with shared weights.

    The architecture is an argument, so one compiled program serves all architectures. A `Cell201`
    of the same sizes accepts the same parameters, since names and shapes agree; it ignores those of
    operations outside its architecture.

    Running statistics would be averages over architectures and match none of them. So norms use
    statistics of the batch in evaluation, too; evaluation batches should have the training size.

    Attributes:
      num_classes: Number of classes.
      channels: Channels of the first stage; doubled at the second and third.
      cells: Searched cells per stage.
      dtype: Dtype of the computation.
      conv: A key of `CONVOLUTIONS`; "im2col" for one operation per edge on a CPU, where XLA's
        convolutions are slow inside a branch.

    References:
      Li & Talwalkar 2020 (arXiv:1902.07638), section 3.2; Liu et al. 2019, DARTS
      (arXiv:1806.09055), equation 2; Dong & Yang 2020 (arXiv:2001.00326), section 5.
    """

    num_classes: int = 10
    channels: int = 16
    cells: int = 5
    dtype: jax.typing.DTypeLike = jnp.float32
    conv: str = "xla"

    @nn.compact
    def __call__(self, images: jax.Array, selection: jax.Array, train: bool = False) -> jax.Array:
        """(batch, height, width, channels) → (batch, num_classes) float32 logits.

        Args:
          images: (batch, height, width, channels).
          selection: (edges,) int, the operation of each edge (`choice`), of which only those are
            computed; or (edges, operations) float, the weights of a sum over all operations.
          train: Ignored.
        """
        del train
        layers = Layers(
            conv_without_bias(self.dtype, self.conv),
            functools.partial(BatchStatisticsNorm, dtype=self.dtype),
        )
        one = jnp.ndim(selection) == 1

        def edge(cell: nn.Module, at: int, x: jax.Array) -> jax.Array:
            weights = jax.nn.one_hot(selection[at], len(OPERATIONS)) if one else selection[at]
            used = sum(weights[OPERATIONS.index(name)] for name in SIDES)
            positive = ReLU(name=f"edge{at}_relu")(x, used=used)
            branches = [functools.partial(_branch, name, at, layers) for name in OPERATIONS]
            if cell.is_initializing():
                return sum((branch(cell, x, positive) for branch in branches), jnp.zeros_like(x))
            # Rematerialized branches do not store intermediate values.
            branches = [nn.remat(branch) for branch in branches]
            if one:
                return nn.switch(selection[at], branches, cell, x, positive)
            # The condition is always true, but prevents XLA from fusing operations with their
            # consumers, which would recompute them and take five times as long on a CPU.
            outs = [
                nn.cond(jnp.isfinite(w), branch, _nothing, cell, x, positive)
                for w, branch in zip(weights, branches, strict=True)
            ]
            parts = [w.astype(x.dtype) * out for w, out in zip(weights, outs, strict=True)]
            return functools.reduce(jnp.add, parts)

        return skeleton(layers, edge, self.num_classes, self.channels, self.cells, images)


def _branch(
    name: str, at: int, layers: Layers, cell: nn.Module, x: jax.Array, positive: jax.Array
) -> jax.Array:
    del cell  # Flax passes the module whose parameters a branch uses
    return operation(name, at, layers, x, positive)


def _nothing(cell: nn.Module, x: jax.Array, positive: jax.Array) -> jax.Array:
    del cell, positive
    return jnp.zeros_like(x)


def choice(architecture: Sequence[str]) -> np.ndarray:
    """Converts an architecture to operation indices, (edges,) int32, for `Supernet201`.

    Raises:
      UserError: If it is not six of the operations.
    """
    check_operations(architecture)
    return np.array([OPERATIONS.index(name) for name in architecture], np.int32)
