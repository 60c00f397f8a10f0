"""A change of masks and any optimizer of Optax: the dead are forgotten, the living not touched."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gpnas.masks import init_masks, is_weight, masked_leaves, reset_moments
from gpnas.methods import METHODS
from gpnas.models import LeNet300, linen
from gpnas.train import classification, init_state, make_step

MODULE = LeNet300(widths=(12, 9))
TASK = classification(linen(MODULE))
SHAPE = (5, 5, 1)


def weights_only(params):
    return jax.tree.map(lambda p: is_weight("", p), params)


def by_kind(params):
    return jax.tree.map(lambda p: "weights" if is_weight("", p) else "others", params)


OPTIMIZERS = {
    "sgd": optax.sgd(0.1),
    "momentum": optax.sgd(0.1, momentum=0.9),
    "nesterov": optax.sgd(0.1, momentum=0.9, nesterov=True),
    "adam": optax.adam(0.01),
    "adamw": optax.adamw(0.01, weight_decay=0.1),
    "adamw masked": optax.adamw(0.01, weight_decay=0.1, mask=weights_only),
    "lion": optax.lion(0.01),
    "adafactor": optax.adafactor(0.01),
    "adafactor factored": optax.adafactor(0.01, min_dim_size_to_factor=4, momentum=0.9),
    "rmsprop": optax.rmsprop(0.01, momentum=0.9),
    "lamb": optax.lamb(0.01),
    "nadam": optax.nadam(0.01),
    "adagrad": optax.adagrad(0.1),
    "adabelief": optax.adabelief(0.01),
    "inject_hyperparams": optax.inject_hyperparams(optax.adam)(0.01),
    "multi_steps": optax.MultiSteps(optax.adam(0.01), 2).gradient_transformation(),
    "schedule_free": optax.contrib.schedule_free_adamw(0.01, weight_decay=0.1),
    "prodigy": optax.contrib.prodigy(0.1),
    "muon": optax.contrib.muon(0.01),
    "partition": optax.partition(
        {"weights": optax.adamw(0.01), "others": optax.sgd(0.1, momentum=0.9)}, by_kind
    ),
    "clipped with decay": optax.chain(
        optax.clip_by_global_norm(1.0), optax.add_decayed_weights(0.1), optax.sgd(0.1, 0.9)
    ),
}


# One of each kind of state; tests/masks/test_masks_optax.py has every optimizer of Optax.
KINDS = ("adamw masked", "multi_steps", "clipped with decay")
MORE = (
    "momentum", "adafactor factored", "inject_hyperparams", "schedule_free", "muon", "partition",
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [*KINDS, *(pytest.param(name, marks=pytest.mark.exhaustive) for name in MORE)]
)
def test_masked_weights_stay_zero_under_any_optimizer(name):
    tx = OPTIMIZERS[name]
    method = METHODS["set"](density=0.3, every=1)  # an exchange at every step
    step = make_step(TASK, method, tx)
    keys = jax.random.split(jax.random.key(0), 6)
    images = jax.vmap(lambda k: jax.random.normal(k, (16, *SHAPE)))(keys)
    labels = jnp.arange(16) % 10

    @jax.jit
    def run(key):
        def turn(state, x):
            state, metrics = step(state, (x, labels))
            return state, (state.params, state.masks, metrics["loss"])

        return jax.lax.scan(turn, init_state(TASK, method, tx, images[0], key), images)[1]

    params, masks, losses = run(jax.random.key(1))
    assert np.isfinite(losses).all()
    trained = masked_leaves(masks, params)
    for path in (f"Dense_{i}/kernel" for i in range(3)):
        mask, values = np.asarray(masked_leaves(masks)[path]), np.asarray(trained[path])
        assert (values[~mask] == 0).all()
        assert (mask[0] != mask[-1]).any()
        assert (values[-1][mask[-1]] != 0).mean() > 0.3


@pytest.mark.slow
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_moments_of_changed_entries_are_fresh_and_others_untouched(name):
    tx = OPTIMIZERS[name]
    params = MODULE.init(jax.random.key(0), jnp.zeros((1, *SHAPE)))["params"]
    old, key = init_masks(params), jax.random.key(1)
    new = jax.tree.map(lambda m: jax.random.bernoulli(key, 0.5, m.shape) | (m.ndim == 0), old)
    masks = {m.shape: np.asarray(m) for m in masked_leaves(new).values()}

    def ones(x):
        return jnp.ones_like(x) if jnp.issubdtype(jnp.asarray(x).dtype, jnp.floating) else x

    before = jax.tree.map(ones, tx.init(params))
    after, fresh = reset_moments(tx, old, new, before, params), tx.init(params)
    assert jax.tree.structure(before) == jax.tree.structure(after)
    for was, now, first in zip(*map(jax.tree.leaves, (before, after, fresh)), strict=True):
        expected = np.where(masks[was.shape], was, first) if np.shape(was) in masks else was
        np.testing.assert_array_equal(now, expected)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("l0", {"images": 96, "every": 2}),
        ("serene", {"classes": 10, "density": 0.1, "patience": 1, "refresh": 2}),
        ("lobster", {"density": 0.1, "patience": 1}),
    ],
)
def test_nothing_stays_nan_after_one_batch_that_is(name, settings):
    method = METHODS[name](total_steps=6, **settings)
    tx = method.optimizer(optax.apply_if_finite(optax.sgd(0.1, momentum=0.9), 3))
    step = jax.jit(make_step(TASK, method, tx))
    images = jax.random.normal(jax.random.key(0), (16, *SHAPE))
    state = init_state(TASK, method, tx, images[:1], jax.random.key(1))
    for i in range(6):  # at an even step, serene evaluates its sensitivity
        state, metrics = step(state, (jnp.where(i == 2, jnp.nan, images), jnp.arange(16) % 10))
    kept = (state.params, state.aux, state.mask_state, state.opt_state, state.aux_opt_state)
    assert np.isfinite(metrics["loss"])
    assert not any(np.isnan(leaf).any() for leaf in jax.tree.leaves(kept))
