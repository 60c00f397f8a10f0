"""Unit masks as weight masks, and smaller functions: by hand, by new shapes, by mistakes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gpnas import masks as gm
from gpnas import units
from gpnas.errors import UserError
from gpnas.models import LeNet300


@pytest.fixture
def net():
    module = LeNet300(widths=(6, 4), num_classes=3)
    x = jnp.asarray(np.random.default_rng(0).normal(size=(5, 3, 3, 1)), jnp.float32)
    variables = module.init(jax.random.key(0), x)
    return module.apply, variables, x, units.discover(module.apply, variables, x)


FIRST, SECOND = "params/Dense_0/kernel:1", "params/Dense_1/kernel:1"
MASKS = {FIRST: np.array([1, 0, 1, 1, 0, 0], bool), SECOND: np.array([0, 1, 1, 1], bool)}


@pytest.mark.slow
def test_compaction_is_slicing_by_hand(net):
    apply, variables, x, groups = net
    small_apply, small = units.compact(apply, variables, groups, MASKS, x)
    a, b = np.array([0, 2, 3]), np.array([1, 2, 3])
    p = jax.tree.map(np.asarray, variables["params"])
    hidden = np.maximum(
        np.asarray(x).reshape(5, -1) @ p["Dense_0"]["kernel"][:, a] + p["Dense_0"]["bias"][a], 0
    )
    hidden = np.maximum(hidden @ p["Dense_1"]["kernel"][np.ix_(a, b)] + p["Dense_1"]["bias"][b], 0)
    wanted = hidden @ p["Dense_2"]["kernel"][b] + p["Dense_2"]["bias"]
    np.testing.assert_allclose(small_apply(small, x), wanted, atol=1e-6)
    assert small["params"]["Dense_1"]["kernel"].shape == (3, 3)
    assert jax.tree.structure(small) == jax.tree.structure(variables)


def test_no_mask_leaves_everything(net):
    apply, variables, x, groups = net
    small_apply, small = units.compact(apply, variables, groups, units.full_masks(groups))
    assert jax.tree.map(jnp.shape, small) == jax.tree.map(jnp.shape, variables)
    np.testing.assert_array_equal(small_apply(small, x), apply(variables, x))


@pytest.mark.slow
def test_the_small_function_is_jitted_differentiated_and_takes_any_batch(net):
    apply, variables, x, groups = net
    small_apply, small = units.compact(apply, variables, groups, MASKS)
    mask = units.weight_masks(groups, MASKS, variables)
    zeroed = gm.apply(mask, variables)
    for batch in (1, 5, 10):
        images = jnp.concatenate([x, x])[:batch]
        np.testing.assert_allclose(
            jax.jit(small_apply)(small, images), apply(zeroed, images), atol=1e-6
        )
    whole = jax.grad(lambda v: apply(v, x).sum())(zeroed)["params"]["Dense_2"]["kernel"]
    part = jax.grad(lambda v: small_apply(v, x).sum())(small)["params"]["Dense_2"]["kernel"]
    np.testing.assert_allclose(part, np.asarray(whole)[1:], atol=1e-6)


def test_weight_masks_are_outer_products_and_keep_synapse_masks(net):
    apply, variables, x, groups = net
    synapses = gm.init_masks(variables)
    synapses["params"]["Dense_1"]["kernel"] = jnp.ones((6, 4), bool).at[0, 1].set(False)
    found = jax.jit(lambda m: units.weight_masks(groups, m, variables, synapses))(MASKS)
    kernel = np.outer(MASKS[FIRST], MASKS[SECOND])
    kernel[0, 1] = False
    np.testing.assert_array_equal(found["params"]["Dense_1"]["kernel"], kernel)
    np.testing.assert_array_equal(found["params"]["Dense_0"]["bias"], MASKS[FIRST])
    assert found["params"]["Dense_2"]["bias"].shape == ()
    only = units.weight_masks(groups, {FIRST: MASKS[FIRST]}, variables)
    assert only["params"]["Dense_2"]["kernel"].shape == ()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"nobody": np.ones(6, bool)}, "nobody"),
        ({FIRST: np.ones(5, bool)}, r"\(6,\) bool"),
        ({FIRST: np.ones(6)}, r"\(6,\) bool"),
        ({FIRST: np.zeros(6, bool)}, "nothing left of params/Dense_0"),
    ],
)
def test_masks_that_do_not_fit_are_a_users_mistake(net, wrong, message):
    apply, variables, _, groups = net
    with pytest.raises(UserError, match=message):
        units.compact(apply, variables, groups, wrong)


def test_other_variables_are_a_users_mistake(net):
    apply, variables, x, groups = net
    small_apply, _ = units.compact(apply, variables, groups, MASKS)
    with pytest.raises(UserError, match="compact_variables"):
        small_apply(variables, x)


def test_units_that_share_an_axis_cannot_all_go():
    """Two kinds of unit in one axis: a group of channels, and a place in each of them."""
    params = {"in": jnp.ones((1, 1, 2, 8)), "out": jnp.ones((1, 1, 4, 4))}

    def apply(p, x):
        numbers = ("NHWC", "HWIO", "NHWC")
        x = jax.lax.conv_general_dilated(x, p["in"], (1, 1), "SAME", dimension_numbers=numbers)
        x = jax.lax.conv_general_dilated(
            x, p["out"], (1, 1), "SAME", dimension_numbers=numbers, feature_group_count=2
        )
        return x.sum((1, 2, 3))

    x = jnp.ones((1, 2, 2, 2))
    groups = units.discover(apply, params, x)
    assert [group.size for group in groups.groups] == [4, 2, 2]
    places = groups.groups[0]
    assert [np.sort(places.members[0].at[places.members[0].unit == u]).tolist() for u in range(4)]
    one = {places.name: np.array([True, False, False, True])}
    small_apply, small = units.compact(apply, params, groups, one, x)
    assert small["in"].shape == (1, 1, 2, 4) and small["out"].shape == (1, 1, 2, 4)
    assert float(small_apply(small, x)[0]) == 2 * 2 * 4 * 2 * 2
