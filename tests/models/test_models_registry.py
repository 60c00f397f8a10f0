"""Architectures: what is written down rebuilds the network that its arrays belong to."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gpnas import models, units
from gpnas.errors import UserError

NETS = {
    "lenet300": (models.LeNet300(num_classes=4, widths=(12, 8)), (8, 8, 1)),
    "lenet5": (models.LeNet5(num_classes=4, widths=(4, 6, 10)), (28, 28, 1)),
    "resnet": (models.ResNet(num_classes=4, blocks=2, width=4), (8, 8, 3)),
}


def variables_of(module, shape):
    variables = module.init(jax.random.key(0), jnp.zeros((1, *shape)))
    leaves, structure = jax.tree.flatten(variables)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    drawn = [jnp.abs(jax.random.normal(k, x.shape)) for k, x in zip(keys, leaves, strict=True)]
    return jax.tree.unflatten(structure, drawn)


@pytest.mark.parametrize("name", NETS)
def test_the_rebuilt_network_of_compact_arrays_computes_the_same(name):
    module, shape = NETS[name]
    variables, images = variables_of(module, shape), jnp.ones((2, *shape))
    groups = units.discover(module.apply, variables, images)
    rng = np.random.default_rng(0)
    masks = {g.name: rng.permutation(g.size) < g.size // 2 + 1 for g in groups.groups}
    small_apply, small = units.compact(module.apply, variables, groups, masks)
    written = json.loads(json.dumps(models.architecture(module, small["params"])))
    rebuilt = models.build(written)
    np.testing.assert_allclose(
        rebuilt.apply(small, images), small_apply(small, images), rtol=1e-5, atol=1e-5
    )
    assert jax.tree.map(jnp.shape, rebuilt.init(jax.random.key(0), images)) == jax.tree.map(
        jnp.shape, small
    )
    assert models.architecture(rebuilt, small["params"]) == written


def test_a_missing_block_is_the_identity():
    module, shape = NETS["resnet"]
    variables, images = variables_of(module, shape), jnp.ones((2, *shape))
    for name, (_, silent) in models.blocks(module).items():
        assert silent == f"*/{name}/norm2/*"
        params = dict(variables["params"])
        norm2 = jax.tree.map(jnp.zeros_like, params[name]["norm2"])
        silenced = variables | {"params": params | {name: params[name] | {"norm2": norm2}}}
        left = {k: {n: x for n, x in tree.items() if n != name} for k, tree in variables.items()}
        smaller = models.build(models.architecture(module, left["params"]))
        np.testing.assert_allclose(
            smaller.apply(left, images), module.apply(silenced, images), rtol=1e-5
        )


@pytest.mark.parametrize(
    ("architecture", "said"),
    [
        ({"model": "vgg"}, "model: got 'vgg', allowed: lenet300, lenet5, resnet"),
        ({"model": "lenet5", "fields": {"depth": 3}}, "fields.depth"),
        ({"model": "lenet5", "fields": {"widths": [4, 0, 8]}}, "fields.widths: got [4, 0, 8]"),
        ({"model": "resnet", "fields": {"inner": [4, -1, 8]}}, "fields.inner"),
    ],
)
def test_what_is_no_architecture_is_said_in_one_line(architecture, said):
    with pytest.raises(UserError) as error:
        models.build(architecture)
    assert said in str(error.value)


def test_only_known_networks_are_written_down():
    with pytest.raises(UserError, match="model"):
        models.architecture(models.MacroNet(("identity",) * 8), {})
