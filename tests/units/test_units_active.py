"""What pruning left of a network can be taken out of it, and the function stays."""

import jax
import jax.numpy as jnp
import nets
import numpy as np
import pytest

from gpnas import models, units

pytestmark = pytest.mark.usefixtures("lenient")


def pruned(variables, share):
    """Variables of which whole columns and rows are zero, as gates and magnitude leave them."""
    rng = np.random.default_rng(0)

    def leaf(path, x):
        if x.ndim < 2:
            return x
        rows = rng.random(x.shape[-2]) > share
        columns = rng.random(x.shape[-1]) > share / 4
        return x * rows[:, None] * columns

    return jax.tree.map_with_path(leaf, variables)


@pytest.mark.slow
@pytest.mark.parametrize("name", nets.USUAL)
def test_units_that_nothing_reads_can_go(name):
    apply, variables, inputs = nets.NETS[name]()
    groups = units.discover(apply, variables, *inputs)
    variables = pruned(variables, 0.6)
    masks = units.active_units(groups, variables)
    small_apply, small = units.compact(apply, variables, groups, masks)
    np.testing.assert_allclose(
        small_apply(small, *inputs), apply(variables, *inputs), rtol=1e-5, atol=1e-5
    )
    assert not all(mask.all() for mask in masks.values())


@pytest.mark.slow
def test_a_unit_with_a_constant_output_lives():
    module = models.LeNet300(num_classes=2, widths=(4, 3))
    images = jnp.ones((1, 2, 2, 1))
    variables = module.init(jax.random.key(0), images)
    groups = units.discover(module.apply, variables, images)
    first = variables["params"]["Dense_0"]
    first["kernel"] = first["kernel"].at[:, 1].set(0)
    first["bias"] = first["bias"].at[1].set(1.0)
    second = variables["params"]["Dense_1"]
    second["kernel"] = second["kernel"].at[2].set(0)
    np.testing.assert_array_equal(
        units.active_units(groups, variables)["params/Dense_0/kernel:1"], [True, True, False, True]
    )


@pytest.mark.slow
def test_one_unit_stays_of_each_group():
    module = models.LeNet300(num_classes=2, widths=(4, 3))
    images = jnp.ones((1, 2, 2, 1))
    variables = jax.tree.map(jnp.zeros_like, module.init(jax.random.key(0), images))
    groups = units.discover(module.apply, variables, images)
    for mask in units.active_units(groups, variables).values():
        assert mask.tolist() == [True] + [False] * (len(mask) - 1)
