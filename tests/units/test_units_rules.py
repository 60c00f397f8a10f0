"""One hidden layer with something in the middle: what lets units go, and what does not."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from nets import weight

from gpnas import masks as gm
from gpnas import units

X = weight(9, 3, 5) * 3

pytestmark = pytest.mark.usefixtures("lenient")


@jax.custom_vjp
def rounded(x):
    return jnp.round(x * 3) / 3


rounded.defvjp(lambda x: (rounded(x), None), lambda _, g: (g,))


def pairs(h):
    a, b = h[:, ::2], h[:, 1::2]
    return jnp.stack([a * 0.5 - b * 0.2, a * 0.2 + b * 0.5], -1).reshape(h.shape)


def dropped(h):
    return h * jax.random.bernoulli(jax.random.key(0), 0.5, h.shape)


def unit_norm(h):
    return h / (jnp.linalg.norm(h, axis=-1, keepdims=True) + 1e-6)


LET_GO: dict[str, tuple[Callable, int, list[int]]] = {
    "repeat": (lambda h: jnp.repeat(h, 2, -1), 12, [6]),
    "tile": (lambda h: jnp.tile(h, (1, 2)), 12, [6]),
    "stack": (lambda h: jnp.stack([h, h * 2], -1).reshape(3, -1), 12, [6]),
    "pairs": (pairs, 6, [3]),
    "every second": (lambda h: h[:, ::2], 3, [3, 3]),
    "one in all": (lambda h: h * h[:, 2:3], 6, [5]),
    "by constants": (lambda h: h * np.arange(6.0, dtype=np.float32), 6, [6]),
    "by positions": (lambda h: h * jnp.arange(6.0), 6, [6]),
    "one row": (lambda h: h.at[1].set(1.0), 6, [6]),
    "norm of all": (unit_norm, 6, [6]),
    "norm of a batch": (lambda h: (h - h.mean(0)) / jnp.sqrt(h.var(0) + 1e-5), 6, [6]),
    "outer product": (lambda h: jnp.einsum("bi,bj->bij", h, h).reshape(3, -1), 36, [6]),
    "maximum of pairs": (lambda h: h.reshape(3, 3, 2).max(-1), 3, [3]),
    "dropout": (dropped, 6, [6]),
    "constant padding": (lambda h: jnp.pad(h, ((0, 0), (1, 1)), constant_values=2.0), 8, [6]),
    "unstack": (lambda h: sum(jnp.unstack(h, axis=0))[None] * h, 6, [6]),
}
REFUSED: dict[str, tuple[Callable, str]] = {
    "top k": (lambda h: jax.lax.top_k(h, 6)[0], "`top_k` works across"),
    "count": (lambda h: h / (1 + (h != 0).sum(-1, keepdims=True)), "would not count as zero"),
    "product": (lambda h: h * jnp.prod(h, -1, keepdims=True), "`reduce_prod` works across"),
    "callback": (
        lambda h: jax.pure_callback(np.sin, jax.ShapeDtypeStruct(h.shape, h.dtype), h),
        "`pure_callback` is not followed",
    ),
    "loop over units": (
        lambda h: jax.lax.fori_loop(0, 6, lambda i, a: a.at[:, i].add(1.0), h),
        "`scatter-add` works across",
    ),
    "no epsilon": (lambda h: h * jax.lax.rsqrt(h.var(0)), "`rsqrt` would get zero"),
}


def hidden(middle: Callable, wide: int = 6) -> tuple[Callable, dict]:
    params = {"in": weight(0, 5, 6), "bias": weight(1, 6), "out": weight(2, wide, 2)}
    return lambda p, x: middle(x @ p["in"] + p["bias"]) @ p["out"], params


@pytest.mark.slow
@pytest.mark.parametrize("name", LET_GO)
def test_what_lets_units_go(name):
    middle, wide, sizes = LET_GO[name]
    apply, params = hidden(middle, wide)
    groups = units.discover(apply, params, X)
    assert [group.size for group in groups.groups] == sizes
    key = jax.random.key(0)
    assert units.verify(apply, params, groups, X, key=key, each=False) <= 1e-5


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not(name):
    middle, reason = REFUSED[name]
    apply, params = hidden(middle)
    groups = units.discover(apply, params, X)
    assert not groups.groups
    found = {(r.path, r.axis): r for r in groups.refused}
    assert found["in", 1].indices == 6 and reason in found["in", 1].reason


@jax.custom_vjp
def dense(x, w):
    return x @ w


dense.defvjp(lambda x, w: (x @ w, (x, w)), lambda r, g: (g @ r[1].T, 2 * r[0].T @ g))


@pytest.mark.slow
@pytest.mark.parametrize(
    "apply",
    [
        hidden(jax.nn.relu)[0],
        hidden(rounded)[0],
        lambda p, x: dense(jax.nn.relu(dense(x * 0, p["in"])), p["out"]) + p["bias"][0],
    ],
    ids=["relu", "straight through", "a layer, at zero"],
)
def test_derivatives_are_those_of_the_masked_function(apply):
    params = hidden(jax.nn.relu)[1]
    groups = units.discover(apply, params, X)
    masks = {group.name: np.arange(group.size) % 2 == 1 for group in groups.groups}
    weights = units.weight_masks(groups, masks, params)
    small_apply, small = units.compact(apply, params, groups, masks)
    whole = jax.grad(lambda p: jnp.sum(apply(p, X) ** 2))(gm.apply(weights, params))
    part = jax.grad(lambda p: jnp.sum(small_apply(p, X) ** 2))(small)
    for name, gradient in part.items():
        mask = np.broadcast_to(weights[name], params[name].shape)
        np.testing.assert_allclose(np.ravel(gradient), whole[name][mask], rtol=1e-5, atol=1e-5)


def test_a_layer_with_a_norm_of_its_columns_says_what_it_would_divide_by():
    params = {"v": weight(0, 5, 6), "out": weight(1, 6, 2)}
    apply = lambda p, x: x @ (p["v"] / jnp.linalg.norm(p["v"], axis=0)) @ p["out"]  # noqa: E731
    groups = units.discover(apply, params, X)
    assert not groups.groups
    assert "`div` would get zero" in {(r.path, r.axis): r.reason for r in groups.refused}["v", 1]
