"""A train state made smaller goes on training as the masked one would."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gpnas import masks as gm
from gpnas import models, units
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


@pytest.mark.slow
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
    widths = {group.name: -(-(group.size + 2) // 4) * 4 for group in groups.groups}
    wide = units.resize(state, {"params": params}, groups, masks, widths)
    assert wide["params"]["in"]["kernel"].shape == (4, 12)
    more = train(tx, apply, wide["params"], wide["opt_state"], wide["masks"], STEPS)[2]
    np.testing.assert_allclose(more, whole, atol=1e-5)


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


def heads(params, x):
    """Attention weights by head, flat: a unit owns a run of places; and a concatenation of two."""
    values = (x @ params["value"]).reshape(x.shape[0], params["gain"].shape[0], -1)
    mixed = (values * params["gain"][None, :, None]).reshape(x.shape[0], -1)
    wide = jnp.concatenate([mixed, jax.nn.relu(x @ params["side"]), x], -1)
    return wide @ params["out"]


def lenet5():
    module = models.LeNet5(num_classes=3, widths=(4, 6, 8))
    return rebuilt(module), filled(module, (28, 28, 1)), jnp.ones((2, 28, 28, 1))


def resnet():
    module = models.ResNet(num_classes=3, width=4)
    return rebuilt(module), filled(module, (8, 8, 3)), jnp.ones((2, 8, 8, 3))


def with_heads():
    shapes = {"value": (4, 6), "gain": (3,), "side": (4, 5), "out": (15, 2)}
    params = {name: normal(i, *shape) for i, (name, shape) in enumerate(shapes.items())}
    return heads, params, X


def filled(module, shape):
    variables = module.init(jax.random.key(0), jnp.ones((1, *shape)))
    leaves, structure = jax.tree.flatten(variables)
    drawn = [jnp.abs(normal(i, *leaf.shape)) for i, leaf in enumerate(leaves)]
    return jax.tree.unflatten(structure, drawn)


def rebuilt(module):
    """The network of whatever widths its variables have."""
    return lambda variables, x: models.from_architecture(
        models.architecture(module, variables["params"])
    ).apply(variables, x)


@pytest.mark.slow
@pytest.mark.parametrize(
    "net", [lenet5, pytest.param(resnet, marks=pytest.mark.exhaustive), with_heads]
)
def test_new_units_change_nothing_and_can_go_again(net):
    apply, variables, x = net()
    groups = units.discover(apply, variables, x)
    rng = np.random.default_rng(1)
    masks = {g.name: rng.permutation(g.size) > g.size // 3 for g in groups.groups}
    masked = gm.apply(units.weight_masks(groups, masks, variables), variables)
    state = {"net": masked, "units": masks}
    wider = {g.name: g.size + 3 for g in groups.groups}
    grown = units.resize(state, variables, groups, masks, wider)
    np.testing.assert_allclose(apply(grown["net"], x), apply(masked, x), rtol=1e-5, atol=1e-5)
    again = units.discover(apply, grown["net"], x)
    assert {g.name: g.size for g in again.groups} == wider
    active = {name: np.asarray(mask) for name, mask in grown["units"].items()}
    assert {n: m.sum() for n, m in active.items()} == {n: m.sum() for n, m in masks.items()}
    entries = units.weight_masks(again, active, grown["net"])
    assert not any(jnp.any(w & ~m) for w, m in zip(
        jax.tree.leaves(jax.tree.map(lambda w: w != 0, grown["net"])), jax.tree.leaves(entries),
        strict=True))  # fmt: skip
    small = units.resize(grown, grown["net"], again, active)
    _, compact = units.compact(apply, variables, groups, masks)
    jax.tree.map(np.testing.assert_array_equal, small["net"], compact)


def test_what_was_grown_can_be_grown_in_place_of_inactive_units():
    apply, variables, x = with_heads()
    groups = units.discover(apply, variables, x)
    masks = {"side:1": np.array([True, False, True, False, False])}
    kept = units.resize({"net": variables, "units": masks}, variables, groups, masks, {"side:1": 4})
    np.testing.assert_array_equal(kept["units"]["side:1"], [True, False, True, False])
    np.testing.assert_array_equal(kept["net"]["side"], variables["side"][:, :4])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("widths", "said"),
    [
        ({"in/kernel:1": 2}, "widths[in/kernel:1]: got 2, allowed: at least its 5 active units"),
        ({"mid/bias:0": 2}, "group: got 'mid/bias:0'"),
    ],
)
def test_widths_that_cannot_be_are_refused(widths, said):
    params, _, _ = start()
    groups = units.discover(lambda p, x: apply({"params": p}, x), params, X)
    masks = {"in/kernel:1": np.arange(8) % 3 > 0}
    with pytest.raises(UserError) as error:
        units.resize(params, params, groups, masks, widths)
    assert said in str(error.value)
