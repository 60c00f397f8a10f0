"""Layers that are fast on CPUs: convolution as a matrix product, pooling; ReLU as a layer."""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import export, lax

_BLOCK = 16  # examples; float32 numbers in the widest vector register of a CPU


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
    found = _patches(x, window, strides, -1)
    flat = found.reshape(-1, found.shape[-1])
    out = jnp.dot(flat, rhs.reshape(-1, outputs), precision=precision)
    return out.reshape(*found.shape[:3], outputs)


def _slices(x: jax.Array, window: Sequence[int], strides: Sequence[int]) -> list[jax.Array]:
    """Returns (…, rows, columns, last) for each position in the window over axes -3 and -2."""
    (height, width), (down, right) = window, strides
    rows, columns = x.shape[-3] - height + 1, x.shape[-2] - width + 1
    return [
        x[..., i : i + rows : down, j : j + columns : right, :]
        for i in range(height)
        for j in range(width)
    ]


def _patches(x: jax.Array, window: Sequence[int], strides: Sequence[int], axis: int) -> jax.Array:
    """Concatenates the result of `_slices` along an axis, for width and then for height.

    XLA fuses a few slices into their concatenation, but computes nine of them one by one.
    """
    (height, width), (down, right) = window, strides
    columns = jnp.concatenate(_slices(x, (1, width), (1, right)), axis)
    return jnp.concatenate(_slices(columns, (height, 1), (down, 1)), axis)


def _blocked_conv(
    lhs: jax.Array,
    rhs: jax.Array,
    window_strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    *,
    to_blocks: Callable[[jax.Array], jax.Array],
    precision: Any = None,
    **unused: Any,
) -> jax.Array:
    """Computes `im2col_conv` without groups and dilation, on images in blocked order.

    XLA removes the changes of order between neighbouring layers.
    """
    del unused
    *window, inputs, outputs = rhs.shape
    if isinstance(padding, str):
        padding = lax.padtype_to_pads(lhs.shape[1:3], window, window_strides, padding)
    x = jnp.pad(to_blocks(lhs), ((0, 0), (0, 0), *padding, (0, 0)))
    patches = _patches(x, window, window_strides, 0)
    # Of products of two matrices, XLA computes the derivatives without transposed copies.
    found = lax.dot_general(
        rhs.reshape(-1, outputs),
        patches.reshape(len(patches), -1),
        (((0,), (0,)), ((), ())),
        precision=precision,
    )
    return _from_blocks(found.reshape(outputs, *patches.shape[1:]))


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


class ImageLayout(NamedTuple):
    """An order of the axes of images inside a network, and layers for it.

    Height and width are axes -3 and -2 in any order.

    Attributes:
      enter: (batch, height, width, channels) → images in this order.
      leave: The inverse of `enter`.
      conv: Constructor of convolutions, with the arguments of `nn.Conv`.
      norm: Constructor of batch norms, see `batch_norm`.
    """

    enter: Callable[[jax.Array], jax.Array]
    leave: Callable[[jax.Array], jax.Array]
    conv: Callable[..., Callable[[jax.Array], jax.Array]]
    norm: Callable[..., nn.BatchNorm]


def image_layout(
    kind: str, train: bool, dtype: jax.typing.DTypeLike, axis_name: str | None, bias: bool = False
) -> ImageLayout:
    """Returns the fastest order of axes for a kind of convolution.

    For "im2col" it is blocked, (channels, batch / block, height, width, block): a narrow network
    has few channels, but a block of examples fills the vector registers of a CPU. A block lies on
    one device, so a batch stays sharded. Convolutions remain `nn.Conv`, whose inputs and outputs
    are (batch, height, width, channels) for interceptors of layers.

    Args:
      kind: A key of `CONVOLUTIONS`.
      train, dtype, axis_name: As for `batch_norm`.
      bias: Whether convolutions have a bias.
    """
    norm = batch_norm(train, dtype, axis_name)
    conv = functools.partial(nn.Conv, use_bias=bias, dtype=dtype)
    if kind != "im2col":
        own = functools.partial(conv, conv_general_dilated=CONVOLUTIONS[kind])
        return ImageLayout(_same, _same, own, norm)

    devices = 1 if axis_name else jax.device_count()
    to_blocks = functools.partial(_to_blocks, devices=devices)
    product = functools.partial(_blocked_conv, to_blocks=to_blocks)

    def convolution(*args: Any, **kwargs: Any) -> Callable[[jax.Array], jax.Array]:
        layer = conv(*args, conv_general_dilated=product, **kwargs)
        return lambda x: to_blocks(layer(_from_blocks(x)))

    return ImageLayout(to_blocks, _from_blocks, convolution, functools.partial(norm, axis=0))


def _same(x: jax.Array) -> jax.Array:
    return x


def _to_blocks(x: jax.Array, devices: int) -> jax.Array:
    """(batch, height, width, channels) → (channels, batch / block, height, width, block)."""
    batch = 1 if export.is_symbolic_dim(x.shape[0]) else x.shape[0]
    block = math.gcd(batch // math.gcd(batch, devices), _BLOCK)
    return x.reshape(-1, block, *x.shape[1:]).transpose(4, 0, 2, 3, 1)


def _from_blocks(x: jax.Array) -> jax.Array:
    """Computes the inverse of `_to_blocks`."""
    x = x.transpose(1, 4, 2, 3, 0)
    return x.reshape(-1, *x.shape[2:])


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3))
def max_pool(x: jax.Array, window: int = 2, stride: int = 2, padding: int = 0) -> jax.Array:
    """Computes the maximum over square windows; with a gradient for CPUs and GPUs.

    The gradient is that of maxima of slices, split among equal values (`nn.max_pool` assigns it to
    one of them, by a select-and-scatter). The gradient of `jnp.max` divides by the number of
    entries equal to the maximum, which is 0 if XLA computes the operand twice with different
    rounding. Evaluation calls `nn.max_pool`, a single operation that the runtimes of exported
    networks can fuse.

    Args:
      x: (…, height, width, any), such as (batch, height, width, channels).
      window, stride, padding: Of height and width; pads are never the maximum.

    Returns:
      (…, new height, new width, any).
    """
    others = x.ndim - 4
    window_shape, strides = (1,) * others + (window,) * 2, (1,) * others + (stride,) * 2
    return nn.max_pool(x, window_shape, strides, [(0, 0)] * others + [(padding,) * 2] * 2)


def _max_of_slices(x: jax.Array, window: int, stride: int, padding: int) -> jax.Array:
    pads = (*[(0, 0)] * (x.ndim - 3), *[(padding,) * 2] * 2, (0, 0))
    x = jnp.pad(x, pads, constant_values=-jnp.inf) if padding else x
    for axis in (-3, -2):
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
