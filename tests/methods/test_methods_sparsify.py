"""Every registered method under `sparsify`: the run of the library's own step, or one line."""

import functools
import inspect

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gpnas.errors import UserError
from gpnas.masks import (
    MaskTransform,
    apply,
    density_of,
    init_masks,
    masked_leaves,
    masks_of,
    sparse_params,
    sparsify,
)
from gpnas.methods import METHODS, build, mask_transform
from gpnas.models import LeNet300, linen
from gpnas.train import classification, init_state, make_step
from gpnas.units import cost_model, discover
from tests import traces

STEPS, DENSITY, KEY = 16, 0.2, jax.random.key(3)


class Net(nn.Module):
    """One layer, since every leaf costs time to compile."""

    @nn.compact
    def __call__(self, x):
        return nn.Dense(10)(x.reshape(len(x), -1))


NET = Net()
IMAGES = jax.random.normal(jax.random.key(1), (16, 4, 4, 1))
LABELS = jnp.arange(16) % 10
PARAMS = NET.init(jax.random.split(KEY, 3)[0], IMAGES)["params"]
SHAPES = {p: leaf.shape for p, leaf in masked_leaves(init_masks(PARAMS), PARAMS).items()}
SIZE = sum(np.prod(shape) for shape in SHAPES.values())
SETTINGS = {
    "acdc": {"phases": 2},
    "development": {"peak": 3.0, "window": 3},
    "development_cost": {"curve": ((0.0, 1.0), (0.5, 0.5))},
    "development_units": {"peak": 3.0},
    "iterative": {"rounds": 3},
    "pipeline": {"peak": 3.0},
}
REFUSED = {
    "development_cost", "development_units", "l0", "l0_arm", "lobster", "lottery", "npn_expand",
    "npn_sparsify", "sensitivity", "serene", "sparse_vd", "static_units", "ste", "topkast",
}  # fmt: skip
# Rates and decays are powers of two: products are exact, so that XLA may fuse them as it likes.
OPTIMIZERS = [
    optax.sgd(2**-3),
    optax.sgd(2**-4, momentum=0.5),
    optax.sgd(2**-4, momentum=0.5, nesterov=True),
    optax.lion(2**-7, b1=0.5, b2=0.75),
    optax.chain(optax.add_decayed_weights(2**-6), optax.sgd(2**-4, momentum=0.5)),
]


@pytest.fixture(autouse=True)
def arithmetic():  # replaces that of this folder
    """Flax and Optax mix types."""


def method_of(name):
    """A method with mask updates every four steps, where it has such a setting."""
    fields = inspect.signature(METHODS[name]).parameters
    settings = {"name": name, **SETTINGS.get(name, {})}
    settings |= {"density": DENSITY} if "density" in fields else {}
    settings |= {"every": 4} if "every" in fields else {}
    units = {}
    if "groups" in fields:
        hidden = LeNet300(widths=(8, 4))
        variables = jax.eval_shape(hidden.init, KEY, IMAGES[:1])
        traced = hidden.apply, variables, IMAGES[:1]
        units = {"groups": discover(*traced), "costs": cost_model(*traced)}
    return build(
        settings, total_steps=STEPS, batch_size=16, shapes=SHAPES, params=PARAMS,
        evaluations=4, images=160, classes=10, **units,
    )  # fmt: skip


def test_the_methods_that_change_more_than_masks_are_known():
    assert METHODS.keys() > REFUSED


@pytest.mark.parametrize("name", METHODS)
def test_a_method_is_masks_only_or_refused_in_one_line(name):
    method = method_of(name)
    if name not in REFUSED:
        assert isinstance(mask_transform(method), MaskTransform)
        return
    with pytest.raises(UserError, match="^mask_transform: got 'a method with ") as refused:
        mask_transform(method)
    assert "\n" not in str(refused.value)


def loss(params, images, labels):
    """The loss, and what the train step returns beside it: programs that differ may round so."""
    logits = NET.apply({"params": params}, images)
    value = optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
    return value, (value, jnp.mean(jnp.argmax(logits, -1) != labels, dtype=jnp.float32))


@functools.cache
def course(name):
    """`params, opt_state` after each step of a loop with two lines, from the first on."""
    method = method_of(name)
    tx = sparsify(optimizer(name), mask_transform(method), KEY, grow_init=method.grow_init)

    @jax.jit
    @functools.partial(traces.at_most, 1)
    def step(params, opt_state, batch):
        grads, metrics = jax.grad(loss, has_aux=True)(params, *batch)
        updates, opt_state = tx.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), opt_state, metrics

    opt_state = tx.init(PARAMS)
    params, states = sparse_params(PARAMS, opt_state), []
    for _ in range(STEPS):
        params, opt_state, _ = step(params, opt_state, (IMAGES, LABELS))
        states.append((params, opt_state))
    return states


def optimizer(name):
    return OPTIMIZERS[list(METHODS).index(name) % len(OPTIMIZERS)]


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in METHODS if name not in REFUSED])
def test_zeros_and_counts_are_exact_under_every_method(name):
    for params, opt_state in course(name):
        masked = apply(masks_of(opt_state), params)
        for a, b in zip(*map(jax.tree.leaves, (masked, params)), strict=True):
            np.testing.assert_array_equal(a, b)
    target = round(float(method_of(name).forecast.density(jnp.int32(STEPS))) * SIZE)
    assert round(float(density_of(opt_state)) * SIZE) == target


@pytest.mark.slow
@pytest.mark.parametrize("name", ["rigl", "development", "snfs"])
def test_two_lines_give_the_run_of_the_train_step_to_the_bit(name):
    """Masks, params, moments and statistics, under optimizers with and without momentum."""
    method, tx, task = method_of(name), optimizer(name), classification(linen(NET))
    step = jax.jit(make_step(task, method, tx))
    state = jax.jit(functools.partial(init_state, task, method, tx, IMAGES[:1]))(KEY)
    for params, opt_state in course(name):
        state, _ = step(state, (IMAGES, LABELS))
        theirs = (params, masks_of(opt_state), opt_state.mask_state, opt_state.inner)
        own = (state.params, state.masks, state.mask_state, state.opt_state)
        for a, b in zip(*map(jax.tree.leaves, (theirs, own)), strict=True):
            np.testing.assert_array_equal(a, b)
