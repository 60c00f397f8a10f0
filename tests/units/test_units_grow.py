"""Initializations of grown units, and that the function does not change."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import nets
import numpy as np
import pytest

from gpnas import masks as gm
from gpnas import units
from gpnas.errors import UserError
from gpnas.units import grow

pytestmark = pytest.mark.usefixtures("lenient")  # the networks are

KEY = jax.random.key(5)
KINDS = ("vit", "recurrent")
QUICK = {"xla_backend_optimization_level": 0}  # each is run once, and compiling is what takes time
SILENT = {
    "zero_outgoing": grow.zero_outgoing(),
    "orthogonal": grow.orthogonal(),
    "net2net": grow.net2net(0.5),
}


def half_active(kind: str):
    """A network half of whose units are inactive, its groups, and masks before and after a growth.

    One unit of each larger group is grown, and another one stays inactive.
    """
    net = nets.NETS[kind]()
    groups = units.discover(net.apply, net.variables, *net.inputs)
    before, after = units.full_masks(groups), units.full_masks(groups)
    for group in groups.groups:
        if not group.summed and all(m.role != "both" for m in group.members):
            before[group.name][-(group.size // 2) :] = False
            after[group.name][-(group.size // 4) :] = group.size < 4
    return net, without(groups, before, net.variables), groups, before, after


def without(groups, masks, variables):
    """Variables with zeros for inactive units."""

    def cut(variables):
        return gm.apply(units.weight_masks(groups, masks, variables), variables)

    return jax.jit(cut, compiler_options=QUICK)(variables)


def jitted(init, groups, before, after, entry_masks=None, key=KEY):
    """An init as one program of the variables."""

    def run(variables):
        with nets.strictly():
            return init(variables, groups, before, after, key, entry_masks)

    return jax.jit(run, compiler_options=QUICK)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_growth_does_not_change_the_function(kind):
    net, variables, groups, before, after = half_active(kind)

    def initialize(variables):
        with nets.strictly():
            found = {name: f(variables, groups, before, after, KEY) for name, f in SILENT.items()}
        outs = {name: net.apply(grown, *net.inputs) for name, grown in found.items()}
        active = [units.weight_masks(groups, masks, variables) for masks in (after, before)]
        return net.apply(variables, *net.inputs), outs, found, active

    reference, outs, found, active = jax.jit(initialize, compiler_options=QUICK)(variables)
    for name, grown in found.items():
        assert units.relative_difference(outs[name], reference) < 1e-5, name
        leaves = map(jax.tree.leaves, (*active, grown, variables))
        for mask, was, leaf, first in zip(*leaves, strict=True):
            assert not np.any(np.where(mask, 0, leaf)), name
            assert name == "net2net" or not np.any(np.where(was, leaf - first, 0)), name
        flat = nets.leaves_by_path(grown)
        for group in groups.groups:
            new = after[group.name] & ~before[group.name]
            for m in (m for m in group.members if m.role == "produces"):
                rows = nets.rows_of_units(flat[m.path], m, group.size)
                assert rows[new].any(1).all(), (name, group.name)


@pytest.mark.slow
def test_norms_of_new_units_are_the_mean_over_active_ones():
    _, variables, groups, before, after = half_active("vgg")
    grown = jitted(grow.zero_outgoing(), groups, before, after)(variables)
    stats, norm = grown["batch_stats"]["BatchNorm_1"], grown["params"]["BatchNorm_1"]
    old = variables["params"]["BatchNorm_1"]["scale"][:3]
    new = int(
        np.flatnonzero(after["params/Conv_1/kernel:3"] & ~before["params/Conv_1/kernel:3"])[0]
    )
    np.testing.assert_allclose(norm["scale"][new], old.mean(), rtol=1e-6)
    old = variables["batch_stats"]["BatchNorm_1"]["var"][:3]
    np.testing.assert_allclose(stats["var"][new], old.mean(), rtol=1e-6)
    assert norm["bias"][new] == stats["mean"][new] == 0


class Wide(nn.Module):
    """Two hidden layers, wide enough to measure deviations."""

    @nn.compact
    def __call__(self, x):
        x = nn.tanh(nn.Dense(128, name="first")(x))
        x = nn.tanh(nn.Dense(128, name="second")(x))
        return nn.Dense(64, name="last")(x)


@pytest.mark.slow
def test_deviations_are_those_of_the_active_fan_in():
    net = nets.linen(Wide(), nets.normal(0, 2, 50))
    groups = units.discover(net.apply, net.variables, *net.inputs)
    first, second = "params/first/kernel:1", "params/second/kernel:1"
    before = {first: np.arange(128) < 32, second: np.arange(128) < 16}
    after = {first: np.arange(128) < 32, second: np.arange(128) < 100}
    variables = without(groups, before, net.variables)
    entry_masks = jax.tree.map(lambda x: np.ones(x.shape, bool), net.variables)
    entry_masks["params"]["second"]["kernel"][:16] = False
    for masks, count in ((None, 32), (entry_masks, 16)):
        init = grow.active_fan_in(scale=0.5)
        params = jitted(init, groups, before, after, masks)(variables)["params"]
        made = np.asarray(params["second"]["kernel"])[32 - count : 32, 16:100]
        read = np.asarray(params["last"]["kernel"])[16:100]
        np.testing.assert_allclose(made.std(), 0.5 * np.sqrt(2 / count), rtol=0.1)
        np.testing.assert_allclose(read.std(), 0.5 * np.sqrt(2 / 100), rtol=0.1)
        assert np.count_nonzero(np.asarray(params["second"]["kernel"])[:, 16:100]) == count * 84


@pytest.mark.slow
def test_copies_take_half_of_what_reads_them():
    _, variables, groups, before, after = half_active("resnet")
    name, kernel = "params/Conv_0/kernel:3", "Conv_1"
    grown = jitted(grow.net2net(), groups, {name: before[name]}, {name: after[name]})(variables)
    old, new = variables["params"], grown["params"]
    (copy,) = np.flatnonzero(after[name] & ~before[name])
    made = np.asarray(old["Conv_0"]["kernel"])
    (parent,) = [
        i for i in range(2) if np.array_equal(new["Conv_0"]["kernel"][..., copy], made[..., i])
    ]
    read = np.asarray(new[kernel]["kernel"])
    np.testing.assert_array_equal(read[:, :, copy], read[:, :, parent])
    np.testing.assert_allclose(2 * read[:, :, copy], old[kernel]["kernel"][:, :, parent])


@pytest.mark.slow
def test_orthogonal_weights():
    net, variables, groups, before, after = half_active("vgg")
    name = "params/Conv_1/kernel:3"
    after[name] = np.arange(6) < 5
    grown = jitted(grow.orthogonal(), groups, before, after)(variables)
    rows = np.asarray(grown["params"]["Conv_1"]["kernel"]).reshape(-1, 6).T
    gram = rows @ rows.T
    lengths = np.linalg.norm(rows, axis=1)
    assert np.abs(gram[3:5, :3]).max() < 1e-5 * gram.max() and abs(gram[3, 4]) < 1e-5 * gram.max()
    np.testing.assert_allclose(lengths[3:5], lengths[:3].mean(), rtol=1e-5)


@pytest.mark.slow
def test_where_all_directions_are_taken_new_units_get_the_least_covered():
    def apply(p, x):
        return jnp.tanh(x @ p["in"]) @ p["out"]

    kernel = jnp.diag(jnp.array([3.0, 0.1, 2.0])) @ jnp.ones((3, 3)) + 5 * jnp.eye(3)[:, ::-1]
    params = {"in": jnp.pad(kernel, ((0, 0), (0, 1))), "out": jnp.ones((4, 2)).at[3].set(0)}
    groups = units.discover(apply, params, jnp.ones((1, 3)))
    before, after = {"in:1": np.arange(4) < 3}, {"in:1": np.ones(4, bool)}
    grown = jitted(grow.orthogonal(), groups, before, after)(params)
    least = np.linalg.svd(kernel)[0][:, -1]
    new = np.asarray(grown["in"][:, 3])
    np.testing.assert_allclose(abs(new @ least), np.linalg.norm(new), rtol=1e-4)


@pytest.mark.slow
def test_masks_may_be_traced():
    net = nets.linen(Wide(), nets.normal(0, 2, 50))
    groups = units.discover(net.apply, net.variables, *net.inputs)
    name, other = "params/first/kernel:1", "params/second/kernel:1"
    old, new, rest = np.arange(128) < 9, np.arange(128) < 20, {other: np.arange(128) < 30}
    variables = gm.apply(
        units.weight_masks(groups, {name: old} | rest, net.variables), net.variables
    )
    for kind in ("zero_outgoing", "net2net"):  # others have a choice that rounding makes
        init = SILENT[kind]

        @functools.partial(jax.jit, compiler_options=QUICK)
        def traced(variables, old, new, init=init):
            return init(variables, groups, {name: old} | rest, {name: new} | rest, KEY)

        same = jitted(init, groups, {name: old} | rest, {name: new} | rest)(variables)
        assert units.relative_difference(same, traced(variables, old, new)) < 1e-5


def mirrored():
    """Net2Net on units that are pairs of features, the first with the last, and so on."""

    def apply(p, x):
        x = x @ p["in"]
        return jnp.concatenate([x, x[:, ::-1] * x], 1) @ p["out"]

    params = {"in": nets.weight(0, 3, 6), "out": nets.weight(1, 12, 2)}
    groups = units.discover(apply, params, jnp.ones((1, 3)))
    before, after = {"in:1": np.arange(3) < 2}, {"in:1": np.ones(3, bool)}
    return grow.net2net()(params, groups, before, after, KEY)


def test_what_cannot_be_grown_is_said():
    _, variables, groups, before, after = half_active("llama")
    old, new = {"embed:1": np.arange(8) < 6}, {"embed:1": np.ones(8, bool)}
    for init in SILENT.values():
        with pytest.raises(UserError, match="new units of embed:1.*reduce_sum"):
            init(variables, groups, old, new, KEY)
    jax.eval_shape(jitted(grow.active_fan_in(), groups, old, new), variables)
    with pytest.raises(UserError, match="group"):
        grow.zero_outgoing()(variables, groups, {"none:0": before["embed:1"]}, after, KEY)
    _, variables, groups, *_ = half_active("tied")
    with pytest.raises(UserError, match="new units of embed:1: got 'embed'"):
        grow.net2net()(
            variables, groups, {"embed:1": old["embed:1"][3:]}, {"embed:1": np.ones(5, bool)}, KEY
        )
    with pytest.raises(UserError, match="new units of in:1: got 'in:1'"):
        mirrored()
    with pytest.raises(UserError, match="unevenness"):
        grow.net2net(1.0)
    with pytest.raises(UserError, match="active units of inside:1"):
        old, new = {"inside:1": np.zeros(6, bool)}, {"inside:1": np.ones(6, bool)}
        grow.net2net()(variables, groups, old, new, KEY)
