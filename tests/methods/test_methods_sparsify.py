"""Every registered method under `sparsify`: the run of the library's own step, or one line."""

import functools
import inspect

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
    is_weight,
    masked_leaves,
    masks_of,
    sparse_params,
    sparsify,
)
from gpnas.methods import METHODS, Method, build, mask_transform
from gpnas.models import LeNet300
from gpnas.train import init_state, make_step
from gpnas.units import discover

STEPS, DENSITY, KEY = 16, 0.2, jax.random.key(3)
NET = LeNet300(widths=(8, 6))
IMAGES = jax.random.normal(jax.random.key(1), (16, 4, 4, 1))
LABELS = jnp.arange(16) % 10
PARAMS = NET.init(jax.random.split(KEY, 3)[0], IMAGES)["params"]
SHAPES = {p: leaf.shape for p, leaf in masked_leaves(init_masks(PARAMS), PARAMS).items()}
SETTINGS = {
    "acdc": {"phases": 2},
    "development": {"peak": 3.0, "window": 3},
    "development_units": {"peak": 3.0},
    "iterative": {"rounds": 3},
    "pipeline": {"peak": 3.0},
}
REFUSED = {
    "development_units", "l0", "l0_arm", "lobster", "lottery", "npn_expand", "npn_sparsify",
    "sensitivity", "serene", "sparse_vd", "ste", "topkast",
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
    groups = None
    if "groups" in fields:
        groups = discover(lambda p, x: NET.apply({"params": p}, x), PARAMS, IMAGES[:1])
    return build(
        settings, total_steps=STEPS, batch_size=16, shapes=SHAPES, params=PARAMS, groups=groups,
        evaluations=4, images=160, classes=10,
    )  # fmt: skip


def test_the_methods_that_change_more_than_masks_are_known():
    assert REFUSED < METHODS.keys()


@pytest.mark.parametrize("name", METHODS)
def test_a_method_is_masks_only_or_refused_in_one_line(name):
    method = method_of(name)
    if name not in REFUSED:
        assert isinstance(mask_transform(method), MaskTransform)
        return
    with pytest.raises(UserError, match="^mask_transform: got 'a method with ") as refused:
        mask_transform(method)
    assert "\n" not in str(refused.value)


def loss(params):
    logits = NET.apply({"params": params}, IMAGES)
    return optax.softmax_cross_entropy_with_integer_labels(logits, LABELS).mean()


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in METHODS if name not in REFUSED])
def test_two_lines_give_the_run_of_the_train_step_to_the_bit(name):
    tx = OPTIMIZERS[list(METHODS).index(name) % len(OPTIMIZERS)]
    method: Method = method_of(name)
    ours = jax.jit(make_step(NET, method, tx))
    state = jax.jit(functools.partial(init_state, NET, method, tx, IMAGES[:1]))(KEY)

    wrapped = sparsify(tx, mask_transform(method), KEY, grow_init=method.grow_init)
    opt_state = wrapped.init(PARAMS)
    params = sparse_params(PARAMS, opt_state)

    @jax.jit
    def theirs(params, opt_state):
        updates, opt_state = wrapped.update(jax.grad(loss)(params), opt_state, params)
        return optax.apply_updates(params, updates), opt_state

    densities = []
    for _ in range(STEPS):
        state, _ = ours(state, (IMAGES, LABELS))
        params, opt_state = theirs(params, opt_state)
        sides = (params, masks_of(opt_state), opt_state.mask_state, opt_state.inner)
        own = (state.params, state.masks, state.mask_state, state.opt_state)
        for a, b in zip(*map(jax.tree.leaves, (sides, own)), strict=True):
            np.testing.assert_array_equal(a, b)
        for a, b in zip(*map(jax.tree.leaves, (apply(state.masks, params), params)), strict=True):
            np.testing.assert_array_equal(a, b)
        densities.append(float(density_of(opt_state)))
    target = float(method.forecast.density(jnp.int32(STEPS)))
    total = sum(leaf.size for leaf in jax.tree.leaves(PARAMS) if is_weight("", leaf))
    assert densities[-1] == pytest.approx(target, abs=0.5 / total)
    assert theirs._cache_size() == 1
