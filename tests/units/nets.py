"""Small networks of many kinds, in Linen, NNX, Equinox and plain JAX, as functions of variables."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from gpnas.masks import tree


@contextlib.contextmanager
def strictly() -> Iterator[None]:
    """No implicit change of dtype or rank: for code of ours among networks that are lenient."""
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        yield


class Net(NamedTuple):
    """A function, its variables, and inputs."""

    apply: Callable[..., Any]
    variables: Any
    inputs: tuple


def leaves_by_path(values: Any) -> dict[str, Any]:
    """`{path: leaf}` of a pytree."""
    flat = jax.tree_util.tree_flatten_with_path(values)[0]
    return {tree.path_name(path): leaf for path, leaf in flat}


def rows_of_units(leaf: Any, member: Any, size: int) -> np.ndarray:
    """(size, entries) of a leaf: what each unit owns along the axis of one of its members."""
    index = member.at[np.lexsort((member.at, member.unit))]
    return np.moveaxis(np.asarray(leaf), member.axis, 0)[index].reshape(size, -1)


class Vgg(nn.Module):
    @nn.compact
    def __call__(self, x):
        for width in (4, 6):
            x = nn.Conv(width, (3, 3))(x)
            x = nn.relu(nn.BatchNorm(use_running_average=True)(x))
            x = nn.max_pool(x, (2, 2), (2, 2))
        x = nn.relu(nn.Dense(8)(x.reshape(x.shape[0], -1)))
        return nn.Dense(3)(x)


class ResNet(nn.Module):
    """Two stages; the second with a projection, or with zeros for the new channels."""

    project: bool = True

    @nn.compact
    def __call__(self, x):
        def norm(x):
            return nn.BatchNorm(use_running_average=True)(x)

        x = nn.relu(norm(nn.Conv(4, (3, 3), name="stem")(x)))
        for width, stride in ((4, 1), (8, 2)):
            y = nn.relu(norm(nn.Conv(width, (3, 3), (stride, stride))(x)))
            y = norm(nn.Conv(width, (3, 3))(y))
            if stride > 1 and self.project:
                x = norm(nn.Conv(width, (1, 1), (stride, stride))(x))
            elif stride > 1:
                x = jnp.pad(x[:, ::2, ::2], ((0, 0), (0, 0), (0, 0), (2, 2)))
            x = nn.relu(x + y)
        return nn.Dense(3)(x.mean((1, 2)))


class ResNeXt(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.Conv(6, (1, 1), name="stem")(x)
        y = nn.relu(nn.Conv(8, (1, 1), name="before")(x))
        y = nn.relu(nn.Conv(8, (3, 3), feature_group_count=4, name="grouped")(y))
        x = x + nn.Conv(6, (1, 1), name="after")(y)
        return nn.Dense(3)(x.mean((1, 2)))


class DenseNet(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.Conv(4, (3, 3), name="stem")(x)
        for i in range(3):
            y = nn.relu(nn.BatchNorm(use_running_average=True)(x))
            x = jnp.concatenate([x, nn.Conv(3, (3, 3), name=f"grow{i}")(y)], -1)
        x = nn.avg_pool(nn.Conv(6, (1, 1), name="transition")(x), (2, 2), (2, 2))
        return nn.Dense(3)(x.mean((1, 2)))


class MobileNet(nn.Module):
    """An inverted residual: expansion, depthwise convolution, squeeze and excitation."""

    @nn.compact
    def __call__(self, x):
        x = nn.hard_swish(nn.Conv(4, (3, 3), name="stem")(x))
        y = nn.hard_swish(nn.Conv(8, (1, 1), name="expand")(x))
        y = nn.Conv(8, (3, 3), feature_group_count=8, name="depthwise")(y)
        y = nn.relu6(nn.BatchNorm(use_running_average=True)(y))
        gate = y.mean((1, 2), keepdims=True)
        gate = nn.relu(nn.Conv(5, (1, 1), name="squeeze")(gate))
        gate = nn.hard_sigmoid(nn.Conv(8, (1, 1), name="excite")(gate))
        x = x + nn.Conv(4, (1, 1), name="project")(y * gate)
        return nn.Dense(3)(x.mean((1, 2)))


class ConvNeXt(nn.Module):
    fast: bool = False

    @nn.compact
    def __call__(self, x):
        x = nn.Conv(6, (2, 2), (2, 2), padding="VALID", name="stem")(x)
        y = nn.Conv(6, (3, 3), feature_group_count=6, name="depthwise")(x)
        y = nn.LayerNorm(use_fast_variance=self.fast)(y)
        y = nn.Dense(6, name="narrow")(nn.gelu(nn.Dense(12, name="wide")(y)))
        x = x + y * self.param("layer_scale", nn.initializers.constant(1e-6), (6,))
        return nn.Dense(3)(nn.LayerNorm(use_fast_variance=self.fast)(x.mean((1, 2))))


class GroupNormNet(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.GroupNorm(num_groups=4)(nn.Conv(8, (3, 3))(x)))
        return nn.Conv(2, (3, 3))(x)


class UNet(nn.Module):
    @nn.compact
    def __call__(self, x):
        a = nn.relu(nn.Conv(4, (3, 3), name="down0")(x))
        b = nn.relu(nn.Conv(6, (3, 3), (2, 2), name="down1")(a))
        b = nn.relu(nn.Conv(6, (3, 3), name="bottom")(b))
        up = nn.ConvTranspose(5, (2, 2), (2, 2), name="up")(b)
        bigger = jax.image.resize(b, (*a.shape[:3], b.shape[-1]), "nearest")
        x = jnp.concatenate([up, a, bigger], -1)
        return nn.Conv(2, (1, 1), name="head")(nn.relu(nn.Conv(5, (3, 3), name="join")(x)))


class ViT(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.Conv(8, (4, 4), (4, 4), padding="VALID", name="patches")(x)
        x = x.reshape(x.shape[0], -1, 8)
        token = self.param("token", nn.initializers.normal(1.0), (1, 1, 8))
        x = jnp.concatenate([jnp.broadcast_to(token, (x.shape[0], 1, 8)), x], 1)
        x = x + self.param("places", nn.initializers.normal(1.0), (1, x.shape[1], 8))
        y = nn.LayerNorm(use_fast_variance=False)(x)
        x = x + nn.MultiHeadDotProductAttention(num_heads=4, qkv_features=12, name="attention")(y)
        y = nn.LayerNorm(use_fast_variance=False)(x)
        x = x + nn.Dense(8, name="narrow")(nn.gelu(nn.Dense(10, name="wide")(y)))
        return nn.Dense(3, name="head")(nn.LayerNorm(use_fast_variance=False)(x)[:, 0])


class Recurrent(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.RNN(nn.OptimizedLSTMCell(6))(nn.Dense(5)(x))
        return nn.Dense(3)(nn.RNN(nn.GRUCell(4))(x)[:, -1])


def filled(shapes: Any) -> Any:
    """Random numbers for all floating leaves; those of one axis are positive, as variances are."""
    random = np.random.default_rng(0)

    def leaf(x: Any) -> Any:
        if not hasattr(x, "shape") or not jnp.issubdtype(x.dtype, jnp.floating):
            return x
        if len(x.shape) < 2:
            return jnp.asarray(random.uniform(0.1, 1.0, x.shape), x.dtype)
        scale = max(1, np.prod(x.shape[:-1])) ** -0.5
        return jnp.asarray(random.normal(size=x.shape) * scale, x.dtype)

    return jax.tree.map(leaf, shapes)


def linen(module: nn.Module, *inputs: Any) -> Net:
    """A Linen module with random variables."""
    return Net(
        module.apply, filled(jax.eval_shape(module.init, jax.random.key(0), *inputs)), inputs
    )


def normal(seed: int, *shape: int) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def images(side: int = 8, channels: int = 3) -> jax.Array:
    return normal(7, 2, side, side, channels)


def weight(number: int, *shape: int) -> jax.Array:
    return normal(number, *shape) / np.float32(max(1, sum(shape[:-1])) ** 0.5)


def rms(x: jax.Array, scale: jax.Array) -> jax.Array:
    return x * jax.lax.rsqrt(jnp.mean(x * x, -1, keepdims=True) + 1e-6) * scale


def rotate(x: jax.Array) -> jax.Array:
    """Rotary positions on (batch, time, heads, dims)."""
    half = x.shape[-1] // 2
    angle = jnp.arange(x.shape[1])[:, None] / 10 ** (jnp.arange(half) / half)
    a, b = x[..., :half], x[..., half:]
    cos, sin = jnp.cos(angle)[:, None], jnp.sin(angle)[:, None]
    return jnp.concatenate([a * cos - b * sin, a * sin + b * cos], -1)


def llama() -> Net:
    """RMSNorm, rotary positions, grouped queries, SwiGLU; two layers stacked and scanned."""
    width, heads, shared, dims, hidden, layers = 8, 4, 2, 4, 10, 2
    shapes = {
        "q": (width, heads * dims), "k": (width, shared * dims), "v": (width, shared * dims),
        "o": (heads * dims, width), "gate": (width, hidden), "up": (width, hidden),
        "down": (hidden, width),
    }  # fmt: skip
    stack = {k: weight(i, layers, *shape) for i, (k, shape) in enumerate(shapes.items())}
    stack |= {"norm1": jnp.ones((layers, width)), "norm2": jnp.ones((layers, width))}
    params = {"embed": weight(20, 11, width), "layers": stack, "norm": jnp.ones(width)}
    params["head"] = weight(21, width, 11)

    def layer(x, p):
        b, t, _ = x.shape
        y = rms(x, p["norm1"])
        q = rotate((y @ p["q"]).reshape(b, t, heads, dims))
        k = rotate((y @ p["k"]).reshape(b, t, shared, dims))
        v = (y @ p["v"]).reshape(b, t, shared, dims)
        k, v = (jnp.repeat(a, heads // shared, axis=2) for a in (k, v))
        scores = jnp.einsum("bqhd,bkhd->bhqk", q, k) / dims**0.5
        scores = jnp.where(jnp.tril(jnp.ones((t, t), bool)), scores, -1e9)
        y = jnp.einsum("bhqk,bkhd->bqhd", jax.nn.softmax(scores), v).reshape(b, t, -1)
        x = x + y @ p["o"]
        y = rms(x, p["norm2"])
        return x + (jax.nn.silu(y @ p["gate"]) * (y @ p["up"])) @ p["down"], None

    def apply(params, tokens):
        x, _ = jax.lax.scan(jax.checkpoint(layer), params["embed"][tokens], params["layers"])
        return rms(x, params["norm"]) @ params["head"]

    return Net(apply, params, (jnp.arange(10).reshape(2, 5),))


def fused_attention() -> Net:
    """One kernel for queries, keys and values, split along the features."""
    width, heads, dims = 6, 3, 4
    params = {"qkv": weight(0, width, 3 * heads * dims), "o": weight(1, heads * dims, width)}

    def apply(p, x):
        b, t, _ = x.shape
        q, k, v = (
            a.reshape(b, t, heads, dims).swapaxes(1, 2) for a in jnp.split(x @ p["qkv"], 3, -1)
        )
        y = jax.nn.softmax(q @ k.swapaxes(2, 3) / dims**0.5) @ v
        return y.swapaxes(1, 2).reshape(b, t, -1) @ p["o"]

    return Net(apply, params, (normal(3, 2, 5, width),))


def tied() -> Net:
    """One kernel is used twice, and the embedding is the head, too."""
    params = {"embed": weight(0, 7, 5), "shared": weight(1, 5, 5), "inside": weight(2, 5, 6)}
    params["outside"] = weight(3, 6, 5)

    def apply(p, tokens):
        x = p["embed"][tokens]
        for _ in range(2):
            x = jnp.tanh(x @ p["shared"])
        x = x + jax.nn.relu(x @ p["inside"]) @ p["outside"]
        return x @ p["embed"].T

    return Net(apply, params, (jnp.arange(6).reshape(2, 3),))


def shuffle() -> Net:
    """A grouped convolution, its channels shuffled, and another one."""
    params = {
        "a": weight(0, 1, 1, 3, 8), "b": weight(1, 1, 1, 4, 8), "c": weight(2, 1, 1, 4, 8),
        "d": weight(3, 8, 3),
    }  # fmt: skip

    def conv(x, w, groups=1):
        numbers = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(
            x, w, (1, 1), "SAME", dimension_numbers=numbers, feature_group_count=groups
        )

    def apply(p, x):
        x = conv(jax.nn.relu(conv(x, p["a"])), p["b"], 2)
        b, h, w, c = x.shape
        x = x.reshape(b, h, w, 2, c // 2).swapaxes(3, 4).reshape(b, h, w, c)
        return jax.nn.relu(conv(x, p["c"], 2)).mean((1, 2)) @ p["d"]

    return Net(apply, params, (images(4),))


def branches() -> Net:
    """cond, while and fori loops over hidden units."""
    params = {"a": weight(0, 4, 6), "b": weight(1, 6, 6), "c": weight(2, 6, 2)}

    def apply(p, x):
        x = x @ p["a"]
        x = jax.lax.cond(x.sum() > 0, lambda x: jnp.sin(x), lambda x: x * 2, x)
        x = jax.lax.fori_loop(0, 3, lambda i, x: jnp.tanh(x @ p["b"]), x)
        x = jax.lax.while_loop(lambda x: jnp.bool_(False), lambda x: x + 1, x)
        return x @ p["c"]

    return Net(apply, params, (normal(3, 2, 4),))


def refuses() -> Net:
    """Hidden units that something looks across: each in its own way."""
    names = ("softmax", "sort", "max", "mean", "cumprod", "fft", "index", "whole")
    params = {name: {"in": weight(i, 4, 6), "out": weight(i + 9, 6, 2)} for i, name in
              enumerate(names)}  # fmt: skip
    looks = {
        "softmax": jax.nn.softmax,
        "sort": jnp.sort,
        "max": lambda x: x - x.max(-1, keepdims=True),
        "mean": lambda x: jax.nn.sigmoid(x) - jax.nn.sigmoid(x).mean(-1, keepdims=True),
        "cumprod": lambda x: jnp.cumprod(x, -1),
        "fft": lambda x: jnp.fft.fft(x).real,
        "index": lambda x: jnp.take(x, (x[0, :6] > 0).astype(int), axis=1),
        "whole": lambda x: jax.lax.dynamic_slice_in_dim(x, (x[0, 0] > 0).astype(int), 6, 1),
    }

    def apply(params, x):
        return sum(looks[n](x @ params[n]["in"]) @ params[n]["out"] for n in names)

    return Net(apply, params, (normal(3, 2, 4),))


def nnx_net() -> Net:
    class Model(nnx.Module):
        def __init__(self, rngs):
            self.conv = nnx.Conv(3, 4, (3, 3), rngs=rngs)
            self.norm = nnx.BatchNorm(4, use_running_average=True, rngs=rngs)
            self.wide = nnx.Linear(4, 6, rngs=rngs)
            self.head = nnx.Linear(6, 2, rngs=rngs)

        def __call__(self, x):
            x = nnx.relu(self.norm(self.conv(x))).mean((1, 2))
            return self.head(nnx.gelu(self.wide(x)))

    graph, state = nnx.split(nnx.eval_shape(lambda: Model(nnx.Rngs(0))))
    return Net(lambda state, x: nnx.merge(graph, state)(x), filled(state), (images(4),))


NETS: dict[str, Callable[[], Net]] = {
    "vgg": lambda: linen(Vgg(), images()),
    "resnet": lambda: linen(ResNet(), images()),
    "resnet_padded": lambda: linen(ResNet(project=False), images()),
    "resnext": lambda: linen(ResNeXt(), images(4)),
    "densenet": lambda: linen(DenseNet(), images(4)),
    "mobilenet": lambda: linen(MobileNet(), images(4)),
    "convnext": lambda: linen(ConvNeXt(), images(4)),
    "convnext_fast": lambda: linen(ConvNeXt(fast=True), images(4)),
    "groupnorm": lambda: linen(GroupNormNet(), images(4)),
    "unet": lambda: linen(UNet(), images(4)),
    "vit": lambda: linen(ViT(), images(8)),
    "recurrent": lambda: linen(Recurrent(), normal(3, 2, 4, 3)),
    "llama": llama,
    "fused_attention": fused_attention,
    "tied": tied,
    "shuffle": shuffle,
    "branches": branches,
    "refuses": refuses,
    "nnx": nnx_net,
}

# Of which two have all that the others have: a shared stream and batch norms; heads and products.
USUAL = [
    "resnet", "vit",
    *(
        pytest.param(name, marks=pytest.mark.exhaustive)
        for name in ("vgg", "densenet", "mobilenet", "unet")
    ),
]  # fmt: skip
