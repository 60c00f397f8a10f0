"""`transition` and `sparsify` with every optimizer and wrapper of the installed optax."""

import inspect
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gpnas.masks import (
    MaskTransform,
    apply,
    init_masks,
    masks_of,
    sparse_params,
    sparsify,
    transition,
    update_leaves,
)
from tests.cases import some

PARAMS = {"w": jnp.arange(1.0, 13.0).reshape(4, 3) / 10, "b": jnp.ones(3)}
OLD = update_leaves(init_masks(PARAMS), {"w": jnp.arange(12).reshape(4, 3) % 3 > 0})
NEW = update_leaves(init_masks(PARAMS), {"w": jnp.arange(12).reshape(4, 3) % 2 > 0})
CHANGED = np.asarray(OLD["w"] != NEW["w"])
GRADS = jax.tree.map(lambda p: 0.1 * jnp.sin(3 * p) + 0.05, PARAMS)
REFUSED = {"sm3", "flatten"}  # and lookahead and lbfgs, below
ARGUMENTS = {
    "dpsgd": {"l2_norm_clip": 1.0, "noise_multiplier": 0.1, "seed": 0},
    "lbfgs": {"linesearch": None},
    "noisy_sgd": {"key": 0},
}
ADAM = optax.adam(0.01)


def loss(params):
    """A smooth function, for optimizers that evaluate one."""
    return sum(jnp.sum(jnp.cos(p) + p) for p in jax.tree.leaves(params))


def updated(name, masks, state, params, tx=None):
    """`(updates, state)` after a step; some optimizers need more than gradients and params."""
    grads, value = apply(masks, GRADS), jnp.float32(1)
    tx = optax.with_extra_args_support(tx or ALL[name])
    if name == "dpsgd":  # of each example
        grads = jax.tree.map(lambda g: g[None], grads)
    extra = {
        "momo": {"value": value},
        "momo_adam": {"value": value},
        "polyak_sgd": {"value": value},
        "sophia": {"obj_fn": loss},
    }.get(name, {})
    return tx.update(grads, state, params, **extra)


def numbers(leaf):
    """A leaf of a state; of a random key, its data."""
    is_key = jnp.issubdtype(jnp.asarray(leaf).dtype, jax.dtypes.prng_key)
    return jax.random.key_data(leaf) if is_key else leaf


def optimizers():
    """Each optimizer of optax and its contrib: what has a learning rate and is no part of one."""
    found = {"polyak_sgd": optax.polyak_sgd()}
    for module in (optax, optax.contrib):
        for name, make in vars(module).items():
            fields = inspect.signature(make).parameters if inspect.isfunction(make) else {}
            if "learning_rate" in fields and not name.startswith(("_", "scale_by_")):
                base = {"base_optimizer": ADAM} if "base_optimizer" in fields else {}
                found[name] = make(learning_rate=0.01, **ARGUMENTS.get(name, base))
    return found


#: One optimizer of each kind of state.
OFTEN = {"sgd", "adam", "adamw", "lbfgs", "muon", "schedule_free_adamw", "chain", "partition"}
ALL = optimizers() | {
    "chain": optax.chain(ADAM, optax.sgd(0.1, momentum=0.9)),
    "MultiSteps": optax.MultiSteps(ADAM, 2).gradient_transformation(),
    "inject_hyperparams": optax.inject_hyperparams(optax.adam)(learning_rate=0.01),
    "apply_if_finite": optax.apply_if_finite(ADAM, 3),
    "masked": optax.masked(ADAM, {"w": True, "b": False}),
    "partition": optax.partition({"a": ADAM, "b": optax.sgd(0.1)}, {"w": "a", "b": "b"}),
    "freeze": optax.chain(optax.freeze({"w": False, "b": True}), ADAM),
    "flatten": optax.flatten(ADAM),
}


def test_optimizers_are_found():
    assert {
        "adam",
        "sgd",
        "lion",
        "adafactor",
        "muon",
        "prodigy",
        "lbfgs",
        "dpsgd",
    } <= ALL.keys() and len(ALL) > 45


def test_what_is_refused_is_documented():
    named = re.search(r"except (.*?), whose states", transition.__doc__, re.DOTALL)[1]
    assert set(re.findall(r"`(\w+)`", named)) == REFUSED | {"lookahead", "lbfgs"}


@pytest.mark.slow
@pytest.mark.parametrize("name", some(ALL, OFTEN))
def test_growing_and_pruning_under_every_optimizer(name):
    tx, params = ALL[name], apply(OLD, PARAMS)
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        state = tx.init(params)
        for _ in range(2):
            updates, state = updated(name, OLD, state, params)
            params = apply(OLD, optax.apply_updates(params, updates))
        if name in REFUSED:
            with pytest.raises(ValueError, match="^transition: got tuple") as refused:
                transition(tx, OLD, NEW, params, state)
            assert "\n" not in str(refused.value)
            return
        params, after = transition(tx, OLD, NEW, params, state)
        fresh = tx.init(params)
        assert (np.asarray(params["w"])[~np.asarray(NEW["w"])] == 0).all()
        for was, now, first in zip(*map(jax.tree.leaves, (state, after, fresh)), strict=True):
            expected = np.where(CHANGED, first, was) if np.shape(was) == (4, 3) else was
            np.testing.assert_array_equal(numbers(now), numbers(expected))
        updates, _ = updated(name, NEW, after, params)
        assert all(np.isfinite(u).all() for u in jax.tree.leaves(updates))


SWAP = MaskTransform(
    lambda masks, params, key: (update_leaves(masks, {"w": OLD["w"]}), ()),
    lambda masks, state, ctx: (masks if ctx.may_update is False else NEW, state),
    lambda step: step == 1,
)
# MultiSteps goes around `sparsify`; gradients of each example have no shape of a param.
NOT_INSIDE = REFUSED | {"MultiSteps", "dpsgd"}


@pytest.mark.slow
@pytest.mark.parametrize("name", some(ALL, OFTEN))
def test_sparsify_around_every_optimizer(name):
    """From the old masks to the new; both as in a loop that calls `transition`."""
    tx = sparsify(ALL[name], SWAP, jax.random.key(0))
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        dense = init_masks(PARAMS)
        if name in NOT_INSIDE:
            with pytest.raises(ValueError, match="(sparsify|transition): got ") as refused:
                updated(name, dense, tx.init(PARAMS), PARAMS, tx)
            assert "\n" not in str(refused.value)
            return
        state = tx.init(PARAMS)
        params, inner = sparse_params(PARAMS, state), state.inner
        by_hand = params
        for i in range(3):
            updates, state = updated(name, dense, state, params, tx)
            params = optax.apply_updates(params, updates)
            masks = OLD if i < 1 else NEW
            assert (masks_of(state)["w"] == masks["w"]).all()
            assert (np.asarray(params["w"])[~np.asarray(masks["w"])] == 0).all()
            if i == 1:
                by_hand, inner = transition(ALL[name], OLD, NEW, by_hand, inner)
            updates, inner = updated(name, masks, inner, by_hand)
            by_hand = apply(masks, optax.apply_updates(by_hand, updates))
        for ours, other in zip(*map(jax.tree.leaves, (params, by_hand)), strict=True):
            np.testing.assert_allclose(ours, other, rtol=1e-6, atol=1e-7)


def test_the_line_search_of_lbfgs_is_refused_in_one_line():
    tx, masks = optax.lbfgs(), init_masks(PARAMS)
    with pytest.raises(ValueError, match="^transition: got ") as refused:
        transition(tx, masks, masks, PARAMS, tx.init(PARAMS))
    assert "\n" not in str(refused.value)


def test_lookahead_and_the_state_of_an_nnx_optimizer_are_refused_in_one_line():
    tx = optax.lookahead(ADAM, 5, 0.5)
    both = optax.LookaheadParams.init_synced(PARAMS)
    masks = init_masks(both)
    with pytest.raises(ValueError, match="^transition: got ") as refused:
        transition(tx, masks, masks, both, tx.init(both))
    assert "\n" not in str(refused.value)
    nnx = pytest.importorskip("flax.nnx")
    module = nnx.Linear(4, 3, rngs=nnx.Rngs(0))
    optimizer = nnx.Optimizer(module, ADAM, wrt=nnx.Param)
    params = nnx.state(module, nnx.Param)
    masks = init_masks(params)
    with pytest.raises(ValueError, match="^transition: got ") as refused:
        transition(ADAM, masks, masks, params, nnx.state(optimizer, nnx.optimizer.OptState))
    assert "\n" not in str(refused.value)
