"""bfloat16 in the network: losses, statistics and the masters of weights stay float32."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gpnas.masks import grow_at_fan_in, masked_leaves, masks_of, sparse_params, sparsify
from gpnas.methods import mask_transform
from gpnas.models import linen
from gpnas.train import classification, init_state, make_plan, make_step, task, train

METHODS = {
    "rigl": {"density": 0.2, "every": 5},
    "development": {"density": 0.2, "peak": 2.0, "every": 5, "window": 3},
}
HALF = jnp.bfloat16


class Half(nn.Module):
    """Parameters, computation and logits in bfloat16."""

    @nn.compact
    def __call__(self, x, train=False):
        x = nn.relu(nn.Dense(64, dtype=HALF, param_dtype=HALF)(x))
        return nn.Dense(10, dtype=HALF, param_dtype=HALF)(x)


def dtypes(tree):
    return {str(x.dtype) for x in jax.tree.leaves(tree) if jnp.issubdtype(x.dtype, jnp.floating)}


def counts(masks, params):
    """Nonzero weights per masked leaf, which are never more than the active ones."""
    active = masked_leaves(masks)
    found = masked_leaves(masks, params)
    assert all(not np.any(np.where(active[p], 0, w)) for p, w in found.items())
    return sum(int(np.sum(mask)) for mask in active.values())


@pytest.mark.exhaustive
def test_a_run_in_bfloat16_ends_near_that_in_float32(tiny, digits, tmp_path, saved):
    name, found = "development", {}
    for dtype in ("float32", "bfloat16"):
        config = tiny(name=name, **METHODS[name])
        config.model.dtype = dtype
        found[dtype] = train(config, tmp_path / dtype, digits)
        leaves = saved[tmp_path / dtype]
        assert {str(x.dtype) for x in leaves.values() if x.dtype.kind in "fV"} == {"float32"}
        assert all(np.isfinite(x).all() for x in leaves.values() if x.dtype.kind == "f")
    # 544 of 2,720 weights
    assert [one["curve"][-1]["density"] for one in found.values()] == [0.2, 0.2]
    errors = [one["metrics"]["test_error_last"] for one in found.values()]
    assert errors[0] != errors[1] and abs(errors[0] - errors[1]) < 3


@pytest.mark.parametrize("make", [task.classification, task.multilabel, task.language])
def test_losses_of_bfloat16_outputs_are_float32(make):
    """As of the same outputs in float32, to the bit."""
    key, shape = jax.random.key(0), (6, 5, 10) if make is task.language else (64, 10)
    logits = (4 * jax.random.normal(key, shape)).astype(HALF)
    targets = jax.random.randint(key, shape[:-1], 0, 10)
    targets = logits > 1 if make is task.multilabel else targets

    def losses(outputs):
        class Given(nn.Module):
            @nn.compact
            def __call__(self, x, train=False):
                return outputs * self.param("one", nn.initializers.ones, (), outputs.dtype)

        made = make(linen(Given()))
        variables = made.init(key, jnp.zeros((1, 1)))
        loss, aux = made.loss(variables, (jnp.zeros((64, 1)), targets), key)
        return {"mean": loss, **aux.metrics, **made.metrics(variables, (jnp.zeros(1), targets))}

    found, expected = losses(logits), losses(logits.astype(jnp.float32))
    assert found["mean"].dtype == found["loss"].dtype == jnp.float32
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value)


def batches(digits, steps):
    pixels = digits.train.inputs.reshape(len(digits.train), -1)[: 64 * steps] / np.float32(255)
    labels = digits.train.targets[: 64 * steps]
    return zip(pixels.reshape(steps, 64, -1), labels.reshape(steps, 64), strict=True)


def method_of(name, tiny, digits):
    config = tiny(name=name, **METHODS[name])
    config.model.widths = (64,)
    return make_plan(config, digits).method


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_a_step_on_bfloat16_parameters(name, tiny, digits):
    method, tx = method_of(name, tiny, digits), optax.sgd(0.05, momentum=0.9)
    made = classification(linen(Half()))
    state = init_state(made, method, method.optimizer(tx), jnp.zeros((1, 64)), jax.random.key(0))
    assert dtypes(state.params) == {"bfloat16"}
    assert dtypes(state.mask_state) <= {"float32"}  # statistics of bfloat16 gradients
    step, before, found = jax.jit(make_step(made, method, method.optimizer(tx))), dtypes(state), []
    for batch in batches(digits, 20):
        state, metrics = step(state, batch)
        found.append((counts(state.masks, state.params), float(metrics["loss"])))
    assert dtypes(state) == before and step._cache_size() == 1
    assert np.isfinite([loss for _, loss in found]).all()
    if name == "rigl":
        assert {count for count, _ in found} == {found[0][0]} == {round(0.2 * 64 * 74)}
    else:
        assert found[-1][0] != found[0][0]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("grads_dtype", "init"), [("float32", None), ("bfloat16", grow_at_fan_in())]
)
def test_sparsify_of_bfloat16_parameters(grads_dtype, init, tiny, digits):
    transform = mask_transform(method_of("rigl", tiny, digits))
    tx = sparsify(optax.adam(3e-3), transform, jax.random.key(1), grow_init=init)
    net = Half()
    params = net.init(jax.random.key(0), jnp.zeros((1, 64)))["params"]
    state = tx.init(params)
    params, before = sparse_params(params, state), dtypes(state)

    @jax.jit
    def step(params, state, x, y):
        def loss(p):
            logits = net.apply({"params": p}, x).astype(jnp.float32)
            return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()

        value, grads = jax.value_and_grad(loss)(params)
        grads = jax.tree.map(lambda g: g.astype(grads_dtype), grads)
        updates, state = tx.update(grads, state, params)
        return optax.apply_updates(params, updates), state, value

    for x, y in batches(digits, 20):
        params, state, value = step(params, state, x, y)
        assert counts(masks_of(state), params) == round(0.2 * 64 * 74)
    assert dtypes(params) == {"bfloat16"} and np.isfinite(value)
    assert dtypes(state) <= before | {grads_dtype}
