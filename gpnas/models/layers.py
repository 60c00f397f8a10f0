"""Two layers that decide how fast a small convolutional net trains on a CPU."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax


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
    are the same. Two spatial axes, NHWC, no dilation, no groups.

    Args:
      lhs: (batch, height, width, inputs).
      rhs: (kernel height, kernel width, inputs, outputs).
      window_strides: Strides of height and width.
      padding: "SAME", "VALID" or explicit pairs.

    Returns:
      (batch, new height, new width, outputs).

    Raises:
      ValueError: If dilation or groups are asked for.
    """
    del dimension_numbers, unused
    plain = all(d == 1 for dilation in (lhs_dilation, rhs_dilation) for d in dilation or ())
    if not plain or feature_group_count != 1:
        raise ValueError("im2col_conv: got dilation or groups, allowed: neither")
    height, width, inputs, outputs = rhs.shape
    down, right = window_strides
    if isinstance(padding, str):
        padding = lax.padtype_to_pads(lhs.shape[1:3], (height, width), window_strides, padding)
    x = jnp.pad(lhs, ((0, 0), *padding, (0, 0)))
    rows = (x.shape[1] - height) // down + 1
    columns = (x.shape[2] - width) // right + 1
    ends = (rows - 1) * down + 1, (columns - 1) * right + 1
    patches = [
        x[:, i : i + ends[0] : down, j : j + ends[1] : right]
        for i in range(height)
        for j in range(width)
    ]
    flat = jnp.concatenate(patches, -1).reshape(-1, height * width * inputs)
    out = jnp.dot(flat, rhs.reshape(-1, outputs), precision=precision)
    return out.reshape(x.shape[0], rows, columns, outputs)


CONVOLUTIONS: dict[str, Callable[..., jax.Array] | None] = {"xla": None, "im2col": im2col_conv}


def max_pool_2x2(x: jax.Array) -> jax.Array:
    """Maximum over 2 × 2 windows, as a maximum over a reshape: twice as fast backwards on a CPU.

    Where values tie, the gradient is split among them (`nn.max_pool` gives it all to one).

    Args:
      x: (batch, height, width, channels), height and width even.
    """
    batch, height, width, channels = x.shape
    return x.reshape(batch, height // 2, 2, width // 2, 2, channels).max((2, 4))
