"""Layers that are fast on CPUs: convolution as a matrix product, pooling; ReLU as a layer."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

_FEW = 9  # positions in a window; slices are faster than a gather up to this number


def im2col_conv(
    lhs: jax.Array,
    rhs: jax.Array,
    window_strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    lhs_dilation: Sequence[int] | None = None,
    rhs_dilation: Sequence[int] | None = None,
    feature_group_count: int = 1,
    precision: Any = None,
    **unused: Any,
) -> jax.Array:
    """Computes a convolution as a matrix product, for `nn.Conv(conv_general_dilated=…)`.

    XLA's CPU convolution is slow inside a loop; this one is not. It supports two spatial axes,
    NHWC, without dilation. Depthwise convolutions with one filter per channel are computed as sums
    of slices.

    Args:
      lhs: (batch, height, width, inputs).
      rhs: (kernel height, kernel width, inputs, outputs), or (…, 1, inputs) if depthwise.
      window_strides: Strides of height and width.
      padding: "SAME", "VALID" or explicit pairs.
      lhs_dilation, rhs_dilation: Ones or None.
      feature_group_count: 1, or the number of channels.
      precision: As for `jnp.dot`.
      **unused: Other arguments of `lax.conv_general_dilated`, which are ignored.

    Returns:
      (batch, new height, new width, outputs).

    Raises:
      ValueError: For dilation, or other groups.
    """
    del unused
    *sides, _, outputs = rhs.shape
    plain = all(d == 1 for dilation in (lhs_dilation, rhs_dilation) for d in dilation or ())
    depthwise = feature_group_count == lhs.shape[-1] == outputs
    if not plain or not (feature_group_count == 1 or depthwise):
        raise ValueError("im2col_conv: got dilation or groups, allowed: one group per channel")
    window, strides = (sides[0], sides[1]), (window_strides[0], window_strides[1])
    if isinstance(padding, str):
        padding = lax.padtype_to_pads(lhs.shape[1:3], window, strides, padding)
    x = jnp.pad(lhs, ((0, 0), *padding, (0, 0)))
    if depthwise and outputs > 1:
        slices = _slices(x, window, strides)
        weights = rhs.reshape(-1, outputs)
        return functools.reduce(jnp.add, [y * w for y, w in zip(slices, weights, strict=True)])
    patches = _gathered if window[0] * window[1] > _FEW else _sliced
    found = patches(x, window, strides)
    flat = found.reshape(-1, found.shape[-1])
    out = jnp.dot(flat, rhs.reshape(-1, outputs), precision=precision)
    return out.reshape(*found.shape[:3], outputs)


def _sliced(x: jax.Array, window: tuple[int, int], strides: tuple[int, int]) -> jax.Array:
    """Extracts the patch at each output position: (batch, rows, columns, window · inputs)."""
    return jnp.concatenate(_slices(x, window, strides), -1)


def _slices(x: jax.Array, window: tuple[int, int], strides: tuple[int, int]) -> list[jax.Array]:
    """Returns (batch, rows, columns, inputs) for each position in the window."""
    (height, width), (down, right) = window, strides
    rows, columns = x.shape[1] - height + 1, x.shape[2] - width + 1
    return [
        x[:, i : i + rows : down, j : j + columns : right]
        for i in range(height)
        for j in range(width)
    ]


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def _gathered(x: jax.Array, window: tuple[int, int], strides: tuple[int, int]) -> jax.Array:
    """Computes `_sliced` by one gather; its gradient is that of `_sliced`, since scatters are slow.

    On a CPU LeNet-5, with windows of 25, is 10 % faster with it. ResNets, with windows of 9, are 25
    % slower, because XLA recomputes the input for each position in the window.
    """
    batch, height, width, inputs = x.shape
    i, j = (
        np.arange(0, size - side + 1, stride)[:, None] + np.arange(side)
        for size, side, stride in zip((height, width), window, strides, strict=True)
    )
    index = np.int32(i[:, None, :, None] * width + j[None, :, None, :])
    seen = jnp.take(x.reshape(batch, height * width, inputs), index.reshape(-1), 1, mode="clip")
    return seen.reshape(batch, len(i), len(j), -1)


def _backward(*args: Any) -> tuple[jax.Array]:
    *sides, x, gradient = args
    return jax.linear_transpose(lambda x: _sliced(x, *sides), x)(gradient)


# The backward pass uses only the shape of x.
_gathered.defvjp(lambda x, *sides: (_gathered(x, *sides), x), _backward)


#: Implementations of `conv_general_dilated` by name; None is XLA's.
CONVOLUTIONS: dict[str, Callable[..., jax.Array] | None] = {"xla": None, "im2col": im2col_conv}


def resolve_conv(kind: str) -> str:
    """Resolves "auto" to the fastest kind of convolution for the default backend.

    Args:
      kind: A key of `CONVOLUTIONS`, returned unchanged, or "auto": "im2col" on a CPU, else "xla".
    """
    if kind != "auto":
        return kind
    return "im2col" if jax.default_backend() == "cpu" else "xla"


def conv_without_bias(dtype: jax.typing.DTypeLike, kind: str) -> Callable[..., nn.Conv]:
    """Returns a constructor of convolutions without bias.

    Args:
      dtype: Dtype of the computation.
      kind: A key of `CONVOLUTIONS`.
    """
    return functools.partial(
        nn.Conv, use_bias=False, dtype=dtype, conv_general_dilated=CONVOLUTIONS[kind]
    )


def batch_norm(
    train: bool, dtype: jax.typing.DTypeLike, axis_name: str | None
) -> Callable[..., nn.BatchNorm]:
    """Returns a constructor of batch norms with momentum 0.9.

    Args:
      train: Whether to normalize by the batch's statistics and update the running ones.
      dtype: Dtype of the computation.
      axis_name: Mapped axis over whose devices statistics are averaged; None: of one device.
    """
    return functools.partial(
        nn.BatchNorm, use_running_average=not train, momentum=0.9, dtype=dtype, axis_name=axis_name
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3))
def max_pool(x: jax.Array, window: int = 2, stride: int = 2, padding: int = 0) -> jax.Array:
    """Computes the maximum over square windows; with a gradient for CPUs and GPUs.

    The gradient is that of maxima of slices, split among equal values (`nn.max_pool` assigns it to
    one of them, by a select-and-scatter). The gradient of `jnp.max` divides by the number of
    entries equal to the maximum, which is 0 if XLA computes the operand twice with different
    rounding. Evaluation calls `nn.max_pool`, a single operation that the runtimes of exported
    networks can fuse.

    Args:
      x: (batch, height, width, channels).
      window, stride, padding: Of height and width; pads are never the maximum.

    Returns:
      (batch, new height, new width, channels).
    """
    return nn.max_pool(x, (window,) * 2, (stride,) * 2, [(padding,) * 2] * 2)


def _max_of_slices(x: jax.Array, window: int, stride: int, padding: int) -> jax.Array:
    pads = ((0, 0), *[(padding,) * 2] * 2, (0, 0))
    x = jnp.pad(x, pads, constant_values=-jnp.inf) if padding else x
    for axis in (1, 2):
        end = x.shape[axis] - window + 1
        slices = (lax.slice_in_dim(x, i, i + end, stride, axis) for i in range(window))
        x = functools.reduce(jnp.maximum, slices)
    return x


max_pool.defvjp(
    lambda x, *sides: jax.vjp(lambda x: _max_of_slices(x, *sides), x),
    lambda *args: args[-2](args[-1]),
)


def avg_pool_3x3(x: jax.Array, stride: int = 1) -> jax.Array:
    """Computes the mean over 3 × 3 windows of positions inside the image.

    It equals `nn.avg_pool(…, count_include_pad=False)`, which XLA constant-folds over the whole
    batch for minutes. Sums of slices are six times as fast on a CPU.

    Args:
      x: (batch, height, width, channels).
      stride: Stride of height and width.

    Returns:
      (batch, ⌈height / stride⌉, ⌈width / stride⌉, channels).
    """
    height, width = x.shape[1:3]
    x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    x = functools.reduce(jnp.add, [x[:, i : i + height : stride] for i in range(3)])
    x = functools.reduce(jnp.add, [x[:, :, j : j + width : stride] for j in range(3)])
    rows, columns = (
        np.minimum(at + 2, side) - np.maximum(at - 1, 0)
        for side, at in (
            (height, np.arange(0, height, stride)),
            (width, np.arange(0, width, stride)),
        )
    )
    return x / jnp.asarray(np.outer(rows, columns)[..., None], x.dtype)


class ReLU(nn.Module):
    """max(x, 0) as a layer, so that `flax.linen.intercept_methods` can read its input."""

    @nn.compact
    def __call__(self, x: jax.Array, *, used: jax.Array | float = 1.0) -> jax.Array:
        """Applies the ReLU; any shape → the same.

        Args:
          x: Any array.
          used: Fraction of the result that is used, for interceptors: below 1 in a supernet.
        """
        del used
        return nn.relu(x)
