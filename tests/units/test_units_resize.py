"""A train state made smaller goes on training as the masked one would."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gpnas import masks as gm
from gpnas import units
from gpnas.errors import UserError

STEPS = 100

pytestmark = pytest.mark.usefixtures("lenient")


def normal(seed: int, *shape: int) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape) / 2, jnp.float32)


X, Y = normal(5, 16, 4), normal(6, 16, 2)


def apply(variables, x):
    p = variables["params"]
    x = jax.nn.relu(x @ p["in"]["kernel"] + p["in"]["bias"][None])
    return jnp.tanh(x @ p["mid"]["kernel"]) @ p["out"]["kernel"]


def start():
    params = {
        "in": {"kernel": normal(0, 4, 8), "bias": normal(1, 8)},
        "mid": {"kernel": normal(2, 8, 6)},
        "out": {"kernel": normal(3, 6, 2)},
    }
    groups = units.discover(apply, {"params": params}, X)
    masks = {group.name: np.arange(group.size) % 3 > 0 for group in groups.groups}
    return params, groups, masks


def train(tx, apply, params, opt_state, mask, steps):
    @jax.jit
    def step(params, opt_state):
        loss, grads = jax.value_and_grad(lambda p: jnp.mean((apply({"params": p}, X) - Y) ** 2))(
            params
        )
        updates, opt_state = tx.update(gm.apply(mask, grads), opt_state, params)
        return gm.apply(mask, optax.apply_updates(params, updates)), opt_state, loss

    losses = []
    for _ in range(steps):
        params, opt_state, loss = step(params, opt_state)
        losses.append(loss)
    return params, opt_state, np.array(losses)


@pytest.mark.parametrize(
    "tx",
    [
        optax.sgd(0.05, momentum=0.9),
        optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(0.01)),
    ],
    ids=["momentum", "clipped adamw"],
)
def test_training_goes_on_identically(tx):
    params, groups, masks = start()
    mask = units.weight_masks(groups, masks, {"params": params})["params"]
    params = gm.apply(mask, params)
    params, opt_state, _ = train(tx, apply, params, tx.init(params), mask, 5)
    state = {"params": params, "opt_state": opt_state, "masks": mask, "key": jax.random.key(0)}
    small_apply, small = units.compact(apply, {"params": params}, groups, masks)
    small_state = units.resize(state, {"params": params}, groups, masks)
    jax.tree.map(np.testing.assert_array_equal, small_state["params"], small["params"])
    assert all(np.all(leaf) for leaf in jax.tree.leaves(small_state["masks"]))
    _, _, whole = train(tx, apply, params, opt_state, mask, STEPS)
    part = train(
        tx,
        small_apply,
        small_state["params"],
        small_state["opt_state"],
        small_state["masks"],
        STEPS,
    )[2]
    np.testing.assert_allclose(part, whole, atol=1e-5)
    assert whole[-1] < whole[0]


def test_moments_of_any_shape_find_their_axes():
    params, groups, masks = start()
    variables = {"params": params}
    tx = optax.adafactor(0.01, min_dim_size_to_factor=2)
    small = units.resize((tx.init(params), {"old": {"mid": {"kernel": jnp.ones((3, 8, 6))}}}),
                         variables, groups, masks)  # fmt: skip
    fresh = tx.init(units.compact(apply, variables, groups, masks)[1]["params"])
    assert jax.tree.map(jnp.shape, small[0]) == jax.tree.map(jnp.shape, fresh)
    assert small[1]["old"]["mid"]["kernel"].shape == (3, 5, 4)


def test_what_is_not_clear_is_refused():
    params, groups, masks = start()
    with pytest.raises(UserError, match="state old/mid/kernel"):
        units.resize({"old": {"mid": {"kernel": jnp.ones(5)}}}, {"params": params}, groups, masks)
