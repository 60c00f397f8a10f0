"""Two layers that decide how fast a small net trains on a CPU, and ReLU as a layer."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

_FEW = 9  # places in a window up to which slices are faster than one gather


def im2col_conv(
    lhs: jax.Array,
    rhs: jax.Array,
    window_strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    lhs_dilation: Sequence[int] | None = None,
    rhs_dilation: Sequence[int] | None = None,
    dimension_numbers: Any = None,
    feature_group_count: int = 1,
    precision: Any = None,
    **unused: Any,
) -> jax.Array:
    """A convolution as one matrix product over patches, for `nn.Conv(conv_general_dilated=…)`.

    Inside a loop XLA's CPU convolution falls off its fast path; this does not, and its parameters
    are the same. Two spatial axes, NHWC, no dilation; depthwise ones, with one filter a channel,
    are sums of slices.

    Args:
      lhs: (batch, height, width, inputs).
      rhs: (kernel height, kernel width, inputs, outputs), or (…, 1, inputs) if depthwise.
      window_strides: Strides of height and width.
      padding: "SAME", "VALID" or explicit pairs.

    Returns:
      (batch, new height, new width, outputs).

    Raises:
      ValueError: If dilation or other groups are asked for.
    """
    del dimension_numbers, unused
    *sides, _, outputs = rhs.shape
    plain = all(d == 1 for dilation in (lhs_dilation, rhs_dilation) for d in dilation or ())
    depthwise = feature_group_count == lhs.shape[-1] == outputs
    if not plain or not (feature_group_count == 1 or depthwise):
        raise ValueError("im2col_conv: got dilation or groups, allowed: one group a channel")
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
    """(batch, rows, columns, window · inputs): what the window sees at each of its positions."""
    return jnp.concatenate(_slices(x, window, strides), -1)


def _slices(x: jax.Array, window: tuple[int, int], strides: tuple[int, int]) -> list[jax.Array]:
    """(batch, rows, columns, inputs) for each place in the window."""
    (height, width), (down, right) = window, strides
    rows, columns = x.shape[1] - height + 1, x.shape[2] - width + 1
    return [
        x[:, i : i + rows : down, j : j + columns : right]
        for i in range(height)
        for j in range(width)
    ]


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def _gathered(x: jax.Array, window: tuple[int, int], strides: tuple[int, int]) -> jax.Array:
    """The same by one gather; backwards as `_sliced`, because the gather's scatter is slow.

    On a CPU LeNet-5, with windows of 25, is a tenth faster so; ResNet, with windows of 9, a
    quarter slower, because what comes before is then computed anew for each place in the window.
    """
    batch, height, width, inputs = x.shape
    i, j = (
        np.arange(0, size - side + 1, stride)[:, None] + np.arange(side)
        for size, side, stride in zip((height, width), window, strides, strict=True)
    )
    index = np.int32(i[:, None, :, None] * width + j[None, :, None, :])
    seen = jnp.take(x.reshape(batch, height * width, inputs), index.reshape(-1), 1, mode="clip")
    return seen.reshape(batch, len(i), len(j), -1)


def _forward(x: jax.Array, *sides: tuple[int, int]) -> tuple[jax.Array, jax.Array]:
    return _gathered(x, *sides), x  # of which the backward pass uses the shape alone


def _backward(*args: Any) -> tuple[jax.Array]:
    *sides, x, gradient = args
    return jax.linear_transpose(lambda x: _sliced(x, *sides), x)(gradient)


_gathered.defvjp(_forward, _backward)


CONVOLUTIONS: dict[str, Callable[..., jax.Array] | None] = {"xla": None, "im2col": im2col_conv}


def conv_here(kind: str) -> str:
    """The kind of convolution that "auto" means on this machine; any other is what it says."""
    if kind != "auto":
        return kind
    return "im2col" if jax.default_backend() == "cpu" else "xla"


def conv_without_bias(dtype: jax.typing.DTypeLike, kind: str) -> Callable[..., nn.Conv]:
    """What makes a convolution without bias, computed in `dtype` by a `kind` of `CONVOLUTIONS`."""
    return functools.partial(
        nn.Conv, use_bias=False, dtype=dtype, conv_general_dilated=CONVOLUTIONS[kind]
    )


def max_pool_2x2(x: jax.Array) -> jax.Array:
    """Maximum over 2 × 2 windows, as a maximum over a reshape: twice as fast backwards on a CPU.

    Where values tie, the gradient is split among them (`nn.max_pool` gives it all to one).

    Args:
      x: (batch, height, width, channels), height and width even.
    """
    batch, height, width, channels = x.shape
    return x.reshape(batch, height // 2, 2, width // 2, 2, channels).max((2, 4))


def avg_pool_3x3(x: jax.Array, stride: int = 1) -> jax.Array:
    """Mean over 3 × 3 windows of what lies inside the image.

    As `nn.avg_pool(…, count_include_pad=False)`; but that counts over ones of the batch's size,
    which XLA does when it compiles, for minutes. Sums of slices are six times as fast on a CPU.

    Args:
      x: (batch, height, width, channels).
      stride: Of height and width.

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
    """max(x, 0) as a layer, so that `flax.linen.intercept_methods` sees what goes into it."""

    @nn.compact
    def __call__(self, x: jax.Array, *, used: jax.Array | float = 1.0) -> jax.Array:
        """An array of any shape → the same.

        Args:
          x: Any array.
          used: How much of the result goes on, for those who look on: below 1 in a supernet.
        """
        del used
        return nn.relu(x)
