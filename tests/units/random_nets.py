"""Random networks in plain JAX: a chain of random operations, some of which join earlier results.

`python tests/units/random_nets.py 200` verifies so many of them, prints what came of it, and adds
it to results/units/random_nets.jsonl; `… 50 100` takes seeds 100 to 149.
"""

import json
import re
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

RECORDS = Path(__file__).parents[2] / "results" / "units" / "random_nets.jsonl"
Arrays = list[jax.Array]
Operation = Callable[[dict, Arrays], jax.Array]


class Draw(NamedTuple):
    """What an operation is drawn with: random numbers, new parameters, and shapes so far."""

    random: np.random.Generator
    params: dict
    shapes: list[tuple[int, ...]]

    def weight(self, *shape: int) -> str:
        name = f"p{len(self.params):02d}"
        scale = max(1, np.prod(shape[:-1])) ** -0.5
        self.params[name] = jnp.asarray(self.random.normal(size=shape) * scale, jnp.float32)
        return name

    def pick(self, *options: Any) -> Any:
        return options[self.random.integers(len(options))]

    @property
    def channels(self) -> int:
        return self.shapes[-1][-1]


def _conv(x: jax.Array, w: jax.Array, groups: int = 1, dilation: int = 1) -> jax.Array:
    return jax.lax.conv_general_dilated(
        x, w, (1, 1), "SAME", rhs_dilation=(dilation,) * 2,
        dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=groups,
    )  # fmt: skip


def conv(draw: Draw) -> Operation:
    side, dilation, width = draw.pick(1, 3), draw.pick(1, 2), draw.pick(4, 6, 8)
    w, b = draw.weight(side, side, draw.channels, width), draw.weight(width)
    return lambda p, xs: _conv(xs[-1], p[w], dilation=dilation) + p[b]


def grouped(draw: Draw) -> Operation:
    c = draw.channels
    groups = draw.pick(2, c, c) if c % 2 == 0 else c
    w = draw.weight(3, 3, c // groups, c * draw.pick(1, 2))
    return lambda p, xs: _conv(xs[-1], p[w], groups)


def dense(draw: Draw) -> Operation:
    width = draw.pick(4, 6)
    w, b = draw.weight(draw.channels, width), draw.weight(width)
    return lambda p, xs: xs[-1] @ p[w] + p[b]


def activation(draw: Draw) -> Operation:
    names = ("relu", "tanh", "sigmoid", "gelu", "silu", "leaky_relu", "elu", "softplus", "relu6")
    f = getattr(jax.nn, draw.pick(*names))
    return draw.pick(lambda p, xs: f(xs[-1]), lambda p, xs: jax.jit(jax.checkpoint(f))(xs[-1]))


def affine(draw: Draw) -> Operation:
    scale, shift, mean = (draw.weight(draw.channels) for _ in range(3))
    return lambda p, xs: (xs[-1] - p[mean]) * jax.nn.softplus(p[scale]) + p[shift]


def join(draw: Draw) -> Operation:
    """Adds, multiplies or puts side by side: with an earlier result."""
    i = int(draw.random.integers(len(draw.shapes)))
    if draw.shapes[i] == draw.shapes[-1]:
        f = draw.pick(jnp.add, jnp.subtract, lambda a, b: a * jax.nn.sigmoid(b), jnp.maximum)
        return lambda p, xs: f(xs[-1], xs[i])
    return lambda p, xs: jnp.concatenate([xs[-1], xs[i]], -1)


def part(draw: Draw) -> Operation:
    c = draw.channels
    start, stop = (1, c) if draw.pick(True, False) else (0, c // 2 + 1)
    return lambda p, xs: xs[-1][..., start:stop]


def pad(draw: Draw) -> Operation:
    low, inside = draw.pick(0, 1), draw.pick(0, 1)
    value = draw.pick(0.0, 1.0)
    config = [(0, 0, 0)] * 3 + [(low, 1, inside)]
    return lambda p, xs: jax.lax.pad(xs[-1], jnp.float32(value), config)


def halves(draw: Draw) -> Operation:
    if draw.channels % 2:
        return part(draw)

    def gated(p: dict, xs: Arrays) -> jax.Array:
        a, b = jnp.split(xs[-1], 2, -1)
        return a * jax.nn.sigmoid(b)

    return gated


def moved(draw: Draw) -> Operation:
    order = draw.random.permutation(draw.channels)
    return draw.pick(
        lambda p, xs: xs[-1][..., ::-1],
        lambda p, xs: jnp.take(xs[-1], jnp.asarray(order), axis=-1),
        lambda p, xs: jnp.flip(jnp.moveaxis(xs[-1], -1, 1), 2).transpose(0, 2, 3, 1),
        lambda p, xs: jnp.roll(xs[-1], 1, -1),
    )


def shuffled(draw: Draw) -> Operation:
    c = draw.channels
    if c % 2:
        return moved(draw)
    groups = draw.pick(2, c // 2)

    def shuffle(p: dict, xs: Arrays) -> jax.Array:
        x = xs[-1]
        y = x.reshape(*x.shape[:3], groups, c // groups)
        return jnp.swapaxes(y, -1, -2).reshape(x.shape)

    return shuffle


def normed(draw: Draw) -> Operation:
    scale = draw.weight(draw.channels)

    def rms(p: dict, xs: Arrays) -> jax.Array:
        return xs[-1] * jax.lax.rsqrt(jnp.mean(xs[-1] ** 2, -1, keepdims=True) + 1e-3) * p[scale]

    def layer(p: dict, xs: Arrays) -> jax.Array:
        return jax.nn.standardize(xs[-1], axis=-1) * p[scale]

    def instance(p: dict, xs: Arrays) -> jax.Array:
        return jax.nn.standardize(xs[-1], axis=(1, 2), epsilon=1e-3) * p[scale]

    return draw.pick(rms, layer, instance)


def across(draw: Draw) -> Operation:
    return draw.pick(
        lambda p, xs: jax.nn.softmax(xs[-1], -1),
        lambda p, xs: jnp.sort(xs[-1], -1),
        lambda p, xs: jnp.cumsum(xs[-1], -1),
        lambda p, xs: xs[-1] - xs[-1].mean(-1, keepdims=True),
        lambda p, xs: xs[-1] / (1 + jnp.abs(xs[-1]).sum(-1, keepdims=True)),
        lambda p, xs: xs[-1] - xs[-1].max(-1, keepdims=True),
    )


def excited(draw: Draw) -> Operation:
    a, b = draw.weight(draw.channels, 3), draw.weight(3, draw.channels)

    def gate(p: dict, xs: Arrays) -> jax.Array:
        y = jax.nn.relu(xs[-1].mean((1, 2)) @ p[a])
        return xs[-1] * jax.nn.sigmoid(y @ p[b])[:, None, None]

    return gate


def attention(draw: Draw) -> Operation:
    heads, dims, c = 2, 3, draw.channels
    q, k, v = (draw.weight(c, heads * dims) for _ in range(3))
    o = draw.weight(heads * dims, c)

    def attend(p: dict, xs: Arrays) -> jax.Array:
        b, h, w, _ = xs[-1].shape
        x = xs[-1].reshape(b, h * w, c)
        a, e, f = ((x @ p[n]).reshape(b, h * w, heads, dims) for n in (q, k, v))
        scores = jax.nn.softmax(jnp.einsum("bqhd,bkhd->bhqk", a, e))
        y = jnp.einsum("bhqk,bkhd->bqhd", scores, f).reshape(b, h * w, heads * dims)
        return xs[-1] + (y @ p[o]).reshape(xs[-1].shape)

    return attend


def looped(draw: Draw) -> Operation:
    c = draw.channels
    w, stacked = draw.weight(c, c), draw.weight(2, c, c)

    def scanned(p: dict, xs: Arrays) -> jax.Array:
        return jax.lax.scan(lambda x, w: (x + jnp.tanh(x @ w), None), xs[-1], p[stacked])[0]

    def fori(p: dict, xs: Arrays) -> jax.Array:
        return jax.lax.fori_loop(0, 2, lambda i, x: jnp.tanh(x @ p[w]), xs[-1])

    def chosen(p: dict, xs: Arrays) -> jax.Array:
        yes = xs[-1].ravel()[0] > 0 if draw.pick(True, False) else p[w].sum() > 0
        return jax.lax.cond(yes, jnp.sin, lambda x: x @ p[w], xs[-1])

    return draw.pick(scanned, fori, fori)


def pooled(draw: Draw) -> Operation:
    kind, init = draw.pick((jax.lax.max, -jnp.inf), (jax.lax.add, 0.0))
    return lambda p, xs: jax.lax.reduce_window(
        xs[-1], init, kind, (1, 2, 2, 1), (1, 1, 1, 1), "SAME"
    )


OPERATIONS = (
    conv, conv, grouped, dense, activation, activation, affine, join, join, part, pad, halves,
    moved, shuffled, normed, across, excited, attention, looped, pooled,
)  # fmt: skip


def random_net(seed: int, length: int = 7) -> tuple[Callable, dict, jax.Array]:
    """(function, parameters, input) of a random network."""
    random = np.random.default_rng(seed)
    draw = Draw(random, {}, [(2, 3, 3, 3)])
    chosen: list[Operation] = [conv(draw)]

    def body(p: dict, x: jax.Array) -> Arrays:
        xs = [x]
        for operation in chosen:
            xs.append(operation(p, xs))
        return xs

    def shapes() -> list[tuple[int, ...]]:  # a new function each time: traces are cached
        return [y.shape for y in jax.eval_shape(lambda p, x: body(p, x), draw.params, x)]

    x = jnp.asarray(random.normal(size=(2, 3, 3, 3)), jnp.float32)
    for _ in range(length):
        draw.shapes[:] = shapes()
        operation = OPERATIONS[random.integers(len(OPERATIONS))]
        chosen.append((conv if draw.channels > 16 else operation)(draw))
    draw.shapes[:] = shapes()
    flat = bool(random.integers(2))
    head = draw.weight(int(np.prod(draw.shapes[-1][1:])) if flat else draw.channels, 2)

    def apply(p: dict, x: jax.Array) -> jax.Array:
        y = body(p, x)[-1]
        return (y.reshape(y.shape[0], -1) if flat else y.mean((1, 2))) @ p[head]

    return apply, draw.params, x


def main(count: int, first: int = 0) -> None:
    from gpnas import units
    from gpnas.provenance import provenance
    from gpnas.records import append_line

    begun = time.perf_counter()
    differences, found, groups_found, refused = {}, 0, 0, Counter[str]()
    for seed in range(first, first + count):
        apply, params, x = random_net(seed)
        groups = units.discover(apply, params, x)
        key = jax.random.key(seed)
        differences[seed] = units.verify(apply, params, groups, x, key=key, each=False)
        groups_found += len(groups.groups)
        found += sum(group.size for group in groups.groups)
        for refusal in groups.refused:
            reason = re.sub(r" in \S+", "", refusal.reason)
            refused[reason] += refusal.indices
        if differences[seed] > 1e-5:
            print(f"seed {seed}: {differences[seed]}", flush=True)
    record = {
        "first_seed": first,
        "networks": count,
        "equal": sum(d <= 1e-5 for d in differences.values()),
        "largest_difference": max(differences.values()),
        "failed": {seed: d for seed, d in differences.items() if d > 1e-5},
        "groups": groups_found,
        "units": found,
        "refused_indices": refused.total(),
        "refused_because": dict(refused.most_common()),
        "seconds": round(time.perf_counter() - begun, 1),
        **provenance(),
    }
    print(json.dumps(record, ensure_ascii=False, indent=1))
    append_line(RECORDS, record)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
