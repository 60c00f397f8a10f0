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
    *sides, _, outputs = rhs.shape
    window, strides = (sides[0], sides[1]), (window_strides[0], window_strides[1])
    if isinstance(padding, str):
        padding = lax.padtype_to_pads(lhs.shape[1:3], window, strides, padding)
    x = jnp.pad(lhs, ((0, 0), *padding, (0, 0)))
    patches = _gathered if window[0] * window[1] > _FEW else _sliced
    found = patches(x, window, strides)
    flat = found.reshape(-1, found.shape[-1])
    out = jnp.dot(flat, rhs.reshape(-1, outputs), precision=precision)
    return out.reshape(*found.shape[:3], outputs)


def _sliced(x: jax.Array, window: tuple[int, int], strides: tuple[int, int]) -> jax.Array:
    """(batch, rows, columns, window · inputs): what the window sees at each of its positions."""
    (height, width), (down, right) = window, strides
    rows, columns = x.shape[1] - height + 1, x.shape[2] - width + 1
    return jnp.concatenate(
        [
            x[:, i : i + rows : down, j : j + columns : right]
            for i in range(height)
            for j in range(width)
        ],
        -1,
    )


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


class ReLU(nn.Module):
    """max(x, 0) as a layer, so that `flax.linen.intercept_methods` sees what goes into it."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """An array of any shape → the same."""
        return nn.relu(x)
