"""Decay of what is not sensitive: by hand, with old sensitivities, in loops of all kinds."""

import contextlib
import functools

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gpnas.gates import Forward
from gpnas.sensitivity import neurons, shrink, weights

assert_close = functools.partial(chex.assert_trees_all_close, rtol=1e-4, atol=1e-6)
KINDS = {
    "weights": weights.unspecified,
    "loss": weights.of_loss,
    "neurons": neurons.on_incoming(neurons.lower_bound),
}
RATE, LEARNING_RATE, STEPS = 0.2, 0.5, 7


@pytest.fixture(scope="module")
def net(mlp):
    return mlp()


def gradient(net, params):
    return jax.jit(jax.grad(lambda p: net.forward.loss(p)[0]))(params)


@pytest.fixture(scope="module")
def looks(net):
    """Of each kind: `params → gradient, S`, as NumPy."""

    def look(kind, params):
        grads = gradient(net, params)
        return grads, KINDS[kind](net.forward, params, grads)

    compiled = {kind: jax.jit(functools.partial(look, kind)) for kind in KINDS}
    return {k: lambda p, f=f: jax.tree.map(np.asarray, f(p)) for k, f in compiled.items()}


def by_hand(look, params, every):
    """Parameters after each step: w − η · g − λ · w · max(1 − S, 0)."""
    old, history = None, []
    for step in range(STEPS):
        grads, seen = look(params)
        old = seen if step % every == 0 else old
        params = jax.tree.map(
            lambda w, g, s: w - LEARNING_RATE * g - RATE * w * np.maximum(1 - s, 0),
            jax.tree.map(np.asarray, params), grads, old,
        )  # fmt: skip
        history.append(params)
    return history


def one_step(net, tx):
    def step(carry, _):
        params, state = carry
        grads = gradient(net, params)
        updates, state = tx.update(grads, state, params, forward=net.forward, dense_grads=grads)
        params = optax.apply_updates(params, updates)
        return (params, state), params

    return step


def one_by_one(step, carry):
    history = []
    for _ in range(STEPS):
        carry, params = step(carry, None)
        history.append(params)
    return history


def in_scan(step, carry):
    stacked = jax.jit(lambda carry: jax.lax.scan(step, carry, length=STEPS)[1])(carry)
    return [jax.tree.map(lambda x: x[i], stacked) for i in range(STEPS)]  # noqa: B023


@pytest.mark.slow
@pytest.mark.parametrize("every", [1, 3])
@pytest.mark.parametrize(
    ("kind", "loop"),
    [
        ("loss", "plain"),
        ("loss", "jit"),
        ("loss", "scan"),
        ("weights", "scan"),
        ("neurons", "scan"),
    ],
)
def test_steps_are_those_by_hand(net, looks, kind, loop, every):
    tx = optax.chain(optax.sgd(LEARNING_RATE), shrink(RATE, KINDS[kind], every))
    step, carry = one_step(net, tx), (net.params, tx.init(net.params))
    found = {
        "plain": lambda: one_by_one(step, carry),
        "jit": lambda: one_by_one(jax.jit(step), carry),
        "scan": lambda: in_scan(step, carry),
    }[loop]()
    expected = by_hand(looks[kind], net.params, every)
    for a, b in zip(found, expected, strict=True):
        assert_close(a, b)
    if every > 1:  # and that is not what new looks would have done
        always = by_hand(looks[kind], net.params, 1)
        gap = jax.tree.map(lambda a, b: abs(a - b).max(), always[-1], expected[-1])
        assert max(jax.tree.leaves(gap)) > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize(("every", "times"), [(1, 7), (3, 3)])
def test_nothing_is_computed_between_looks(net, every, times):
    seen = []

    def sensitivity(forward, params, grads):
        jax.debug.callback(lambda: seen.append(None))
        return weights.of_loss(forward, params, grads)

    tx = optax.chain(optax.sgd(LEARNING_RATE), shrink(RATE, sensitivity, every))
    jax.block_until_ready(in_scan(one_step(net, tx), (net.params, tx.init(net.params))))
    jax.effects_barrier()
    assert len(seen) == times


def test_only_what_is_insensitive_shrinks():
    params = {"a": jnp.array([1.0, -2.0, 3.0, 4.0]), "bias": jnp.ones(2)}
    found = {"a": jnp.array([0.0, 0.5, 1.0, 7.0]), "bias": jnp.float32(jnp.inf)}
    tx = shrink(0.1, lambda forward, params, grads: found)
    zeros = jax.tree.map(jnp.zeros_like, params)
    updates, _ = tx.update(zeros, tx.init(params), params, forward=None, dense_grads=None)
    np.testing.assert_allclose(updates["a"], [-0.1, 0.1, 0, 0], atol=1e-7)
    assert not updates["bias"].any()
    with pytest.raises(ValueError, match="^every: got 0, allowed: 1 or more steps"):
        shrink(0.1, lambda forward, params, grads: found, 0)


@pytest.mark.slow
@pytest.mark.parametrize("every", [1, 2])
def test_half_precision(net, forward_of, every):
    """Layers that compute in bfloat16, on parameters that do not."""

    class Half(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.relu(nn.Dense(6, dtype=jnp.bfloat16)(x))
            return nn.Dense(5, dtype=jnp.bfloat16)(x).astype(jnp.float32)

    module = Half()
    params = module.init(jax.random.key(0), net.images)["params"]
    forward = forward_of(module, net.images, net.labels)
    tx = shrink(RATE, KINDS["neurons"], every)
    zeros = jax.tree.map(jnp.zeros_like, params)
    update = jax.jit(
        lambda state: tx.update(zeros, state, params, forward=forward, dense_grads=zeros)
    )
    updates, state = update(tx.init(params))
    updates, _ = update(state)
    assert {u.dtype for u in jax.tree.leaves(updates)} == {jnp.dtype("float32")}
    assert updates["Dense_0"]["kernel"].any()


@pytest.mark.slow
def test_a_loop_of_ones_own(net):
    def train(rate, params):
        def logits(params, intercept=None):
            with nn.intercept_methods(intercept) if intercept else contextlib.nullcontext():
                return net.module.apply({"params": params}, net.images), ()

        def loss(params):
            return optax.softmax_cross_entropy_with_integer_labels(
                logits(params)[0], net.labels
            ).mean()

        forward = Forward(logits, lambda params: (loss(params), ()), net.labels)
        tx = optax.chain(optax.sgd(0.1), shrink(rate, neurons.on_incoming(neurons.exact)))

        @jax.jit
        def step(params, state):
            grads = jax.grad(loss)(params)
            updates, state = tx.update(grads, state, params, forward=forward, dense_grads=grads)
            return optax.apply_updates(params, updates), state

        state = tx.init(params)
        for _ in range(4):
            params, state = step(params, state)
        return loss(params), params

    before = net.forward.loss(net.params)[0]
    (_, free), (loss, shrunk) = train(0.0, net.params), train(0.1, net.params)
    assert loss < before
    for name, layer in shrunk.items():
        kernels = [np.linalg.norm(x) for x in (layer["kernel"], free[name]["kernel"])]
        assert kernels[0] < 0.9 * kernels[1]
