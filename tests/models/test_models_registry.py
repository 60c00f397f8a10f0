"""Architectures: what is written down rebuilds the network that its arrays belong to."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gpnas import masks as gm
from gpnas import models, units
from gpnas.errors import UserError
from tests.cases import some

NETS = {
    "lenet300": (models.LeNet300(num_classes=4, widths=(12, 8)), (8, 8, 1)),
    "lenet5": (models.LeNet5(num_classes=4, widths=(4, 6, 10)), (28, 28, 1)),
    "resnet": (models.ResNet(num_classes=4, blocks=2, width=4), (8, 8, 3)),
    "cellnet": (models.CellNet(num_classes=4, channels=2), (8, 8, 3)),
}


def variables_of(module, shape):
    variables = module.init(jax.random.key(0), jnp.zeros((1, *shape)))
    leaves, structure = jax.tree.flatten(variables)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    drawn = [jnp.abs(jax.random.normal(k, x.shape)) for k, x in zip(keys, leaves, strict=True)]
    return jax.tree.unflatten(structure, drawn)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", some((name for name in NETS if models.has_widths(NETS[name][0])), ["lenet5"])
)
def test_the_rebuilt_network_of_compact_arrays_computes_the_same(name):
    module, shape = NETS[name]
    variables, images = variables_of(module, shape), jnp.ones((2, *shape))
    groups = units.discover(module.apply, variables, images)
    rng = np.random.default_rng(0)
    masks = {g.name: rng.permutation(g.size) < g.size // 2 + 1 for g in groups.groups}
    small_apply, small = units.compact(module.apply, variables, groups, masks)
    written = json.loads(json.dumps(models.architecture(module, small["params"])))
    rebuilt = models.from_architecture(written)
    np.testing.assert_allclose(
        rebuilt.apply(small, images), small_apply(small, images), rtol=1e-5, atol=1e-5
    )
    assert jax.tree.map(jnp.shape, rebuilt.init(jax.random.key(0), images)) == jax.tree.map(
        jnp.shape, small
    )
    assert models.architecture(rebuilt, small["params"]) == written


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "count"), [("resnet", 6), pytest.param("cellnet", 24, marks=pytest.mark.exhaustive)]
)
def test_a_missing_block_is_a_silent_one(name, count):
    module, shape = NETS[name]
    variables, images = variables_of(module, shape), jnp.ones((2, *shape))
    parts = models.removable_blocks(module)
    groups = units.with_blocks(units.UnitGroups((), ()), variables, parts)
    assert len(groups.groups) == len(parts) == count
    whole = {group.name: np.ones(1, bool) for group in groups.groups}
    for group in groups.groups[::5]:
        masks = whole | {group.name: np.zeros(1, bool)}
        in_params = units.groups_in_params(groups)
        silent = gm.apply(
            units.outgoing_masks(in_params, masks, variables["params"]), variables["params"]
        )
        left = units.without_blocks(variables, parts, masks)
        smaller = models.from_architecture(models.architecture(module, left["params"]))
        np.testing.assert_allclose(
            smaller.apply(left, images), module.apply(variables | {"params": silent}, images),
            rtol=1e-5, atol=1e-6,
        )  # fmt: skip
        assert jax.tree.structure(left) == jax.tree.structure(
            smaller.init(jax.random.key(0), images)
        )


@pytest.mark.parametrize(
    ("architecture", "said"),
    [
        ({"model": "vgg"}, "model: got 'vgg', allowed: cellnet, convnet, lenet300, lenet5, resnet"),
        ({"model": "lenet5", "fields": {"depth": 3}}, "fields.depth"),
        ({"model": "lenet5", "fields": {"widths": [4, 0, 8]}}, "fields.widths: got [4, 0, 8]"),
        ({"model": "resnet", "fields": {"inner": [4, -1, 8]}}, "fields.inner"),
        ({"model": "cellnet", "fields": {"channels": 0}}, "fields.channels: got 0"),
    ],
)
def test_what_is_no_architecture_is_said_in_one_line(architecture, said):
    with pytest.raises(UserError) as error:
        models.from_architecture(architecture)
    assert said in str(error.value)


def test_only_known_networks_are_written_down():
    with pytest.raises(UserError, match="model"):
        models.architecture(models.MacroNet(("identity",) * 8), {})
