"""Units of networks of many kinds: found, refused, and removed exactly."""

import functools

import jax
import jax.numpy as jnp
import nets
import numpy as np
import pytest
from nets import NETS, Net, linen
from random_nets import random_net

from gpnas import units
from gpnas.errors import UserError
from gpnas.models import LeNet5, LeNet300

pytestmark = pytest.mark.usefixtures("lenient")


@functools.cache
def found(name: str) -> tuple[Net, units.UnitGroups]:
    net = NETS[name]()
    return net, units.discover(net.apply, net.variables, *net.inputs)


def members(groups: units.UnitGroups, name: str) -> dict[str, int]:
    """{path:axis: indices} of a group, norm layers left out."""
    group = groups.named(name)
    short = {f"{m.path.removeprefix('params/')}:{m.axis}": len(m.at) for m in group.members}
    return {key: n for key, n in short.items() if "Norm" not in key}


@pytest.mark.slow
@pytest.mark.parametrize("name", NETS)
def test_removing_units_is_zeroing_their_variables(name):
    net, groups = found(name)
    assert groups.groups
    key = jax.random.key(3)
    assert units.verify(net.apply, net.variables, groups, *net.inputs, key=key, each=False) <= 1e-5


def test_outputs_that_are_no_numbers_show_nothing():
    net = NETS["nnx"]()
    groups = units.discover(net.apply, net.variables, *net.inputs)
    nan = jax.tree.map(lambda x: x * jnp.nan, net.inputs)
    key = jax.random.key(0)
    assert units.verify(net.apply, net.variables, groups, *nan, key=key, each=False) == jnp.inf


def test_each_group_alone_is_verified_too():
    net, groups = found("fused_attention")
    assert (
        units.verify(net.apply, net.variables, groups, *net.inputs, key=jax.random.key(0)) <= 1e-5
    )


SIZES = {
    "vgg": [4, 6, 8],
    "resnet": [4, 4, 8, 8],
    "resnet_padded": [4, 4, 8, 4],
    "resnext": [6, 2, 4, 2],
    "densenet": [4, 3, 3, 3, 6],
    "mobilenet": [4, 8, 5],
    "convnext": [12],
    "convnext_fast": [6, 12],
    "groupnorm": [4, 2],
    "unet": [4, 6, 6, 5, 5],
    "vit": [4, 3, 3, 10],
    "recurrent": [5, 6, 4],
    "llama": [8, 2, 2, 2, 4, 10],
    "fused_attention": [3, 4, 4],
    "tied": [5, 6],
    "branches": [6],
    "nnx": [4, 6],
}


@pytest.mark.parametrize("name", SIZES)
def test_sizes_of_groups_are_those_of_layers(name):
    assert [group.size for group in found(name)[1].groups] == SIZES[name]


def test_a_flattened_channel_owns_all_its_places():
    net = linen(LeNet5(widths=(4, 6, 16)), jnp.zeros((2, 28, 28, 1)))
    groups = units.discover(net.apply, net.variables, *net.inputs)
    assert members(groups, "params/Conv_1/kernel:3") == {
        "Conv_1/bias:0": 6, "Conv_1/kernel:3": 6, "Dense_0/kernel:0": 6 * 16,
    }  # fmt: skip
    rows = next(m for m in groups.named("params/Conv_1/kernel:3").members if "Dense" in m.path)
    assert np.array_equal(rows.at % 6, rows.unit)


def test_a_residual_stream_is_one_group():
    assert members(found("resnet")[1], "params/stem/kernel:3") == {
        "stem/kernel:3": 4, "stem/bias:0": 4, "Conv_0/kernel:2": 4, "Conv_1/kernel:3": 4,
        "Conv_1/bias:0": 4, "Conv_2/kernel:2": 4, "Conv_4/kernel:2": 4,
    }  # fmt: skip
    norms = [m for m in found("resnet")[1].groups[0].members if "Norm" in m.path]
    assert len(norms) == 2 * 4  # two layers: scale, bias, mean, variance


def test_concatenated_channels_keep_their_offsets():
    groups = found("densenet")[1]
    grown = groups.named("params/grow1/kernel:3")
    rows = next(m for m in grown.members if m.path == "params/transition/kernel")
    assert rows.at.tolist() == [7, 8, 9]
    assert members(groups, "params/grow0/kernel:3").keys() == {
        "grow0/kernel:3", "grow0/bias:0", "grow1/kernel:2", "grow2/kernel:2", "transition/kernel:2",
    }  # fmt: skip


def test_a_depthwise_channel_and_its_gate_go_together():
    assert members(found("mobilenet")[1], "params/expand/kernel:3") == dict.fromkeys(
        ("expand/kernel:3", "expand/bias:0", "depthwise/kernel:3", "depthwise/bias:0",
         "squeeze/kernel:2", "excite/kernel:3", "excite/bias:0", "project/kernel:2"), 8,
    )  # fmt: skip


def test_heads_and_their_dimensions_are_groups():
    groups = found("vit")[1]
    heads = members(groups, "params/attention/query/kernel:1")
    assert heads["attention/out/kernel:0"] == heads["attention/value/bias:0"] == 4
    queries = members(groups, "params/attention/query/kernel:2")
    assert set(queries) == {
        f"attention/{n}/{leaf}" for n in ("query", "key") for leaf in ("kernel:2", "bias:1")
    }
    assert "attention/out/kernel:1" in members(groups, "params/attention/value/kernel:2")


def test_queries_share_their_keys():
    groups = found("llama")[1]
    assert members(groups, "layers/q:2'") == {
        "layers/q:2": 16, "layers/o:1": 16, "layers/k:2": 8, "layers/v:2": 8,
    }  # fmt: skip
    assert members(groups, "layers/q:2''") == {"layers/q:2": 16, "layers/o:1": 16}


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("softmax", "reduce_max"),
        ("sort", "`sort` works across"),
        ("max", "reduce_max"),
        ("mean", "would not count as zero"),
        ("cumprod", "cumprod"),
        ("fft", "`fft` is not followed"),
        ("index", "gather"),
    ],
)
def test_what_looks_across_units_is_refused(name, reason):
    groups = found("refuses")[1]
    refusal = next(r for r in groups.refused if (r.path, r.axis) == (f"{name}/in", 1))
    assert refusal.indices == 6 and reason in refusal.reason
    assert not any(m.path == f"{name}/in" for g in groups.groups for m in g.members)


def test_layer_norm_with_two_passes_is_refused_and_says_where():
    refused = {(r.path, r.axis): r.reason for r in found("vit")[1].refused}
    assert "reduce_sum" in refused["params/narrow/kernel", 1]
    assert "LayerNorm" in refused["params/narrow/kernel", 1]


def test_inputs_and_outputs_are_refused():
    net = linen(LeNet300(widths=(16, 8)), jnp.zeros((2, 6, 6, 1)))
    groups = units.discover(net.apply, net.variables, *net.inputs)
    refused = {(r.path, r.axis): (r.indices, r.reason) for r in groups.refused}
    assert refused["params/Dense_0/kernel", 0] == (36, "an input of the function")
    assert refused["params/Dense_2/kernel", 1] == (10, "an output of the function")


def test_shapes_are_enough():
    net, groups = found("mobilenet")
    shapes = jax.eval_shape(lambda x: x, (net.variables, net.inputs))
    again = units.discover(net.apply, shapes[0], *shapes[1])
    assert [g.name for g in again.groups] == [g.name for g in groups.groups]


def test_what_is_not_used_or_not_computed_is_no_unit():
    params = {"idle": jnp.ones((3, 4)), "in": jnp.ones((5, 6)), "out": jnp.ones((6, 2))}
    params["table"] = jnp.ones((7, 5))

    def apply(p, labels):
        return jax.nn.one_hot(labels, 7) @ p["table"] @ p["in"] @ p["out"]

    groups = units.discover(apply, params, jnp.arange(3))
    assert [g.name for g in groups.groups] == ["table:1", "in:1"]
    reasons = {(r.path, r.axis): r.reason for r in groups.refused}
    assert reasons["idle", 1] == "not used by the function"
    assert reasons["table", 0] == "no layer computes it"


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(24))
def test_random_networks(seed):
    apply, params, x = random_net(seed, length=6)
    groups = units.discover(apply, params, x)
    key = jax.random.key(seed)
    assert units.verify(apply, params, groups, x, key=key, each=False) <= 1e-5


def test_groups_that_are_not_those_of_the_function_are_refused():
    params = {"in": nets.weight(0, 4, 6), "out": nets.weight(1, 6, 2)}

    def apply(p, x):
        return jax.nn.relu(x @ p["in"]) @ p["out"]

    x = jnp.ones((3, 4))
    groups = units.discover(apply, params, x)
    (group,) = groups.groups
    shifted = [m._replace(at=(m.at + (m.path == "out")) % 6) for m in group.members]
    wrong = groups._replace(groups=(group._replace(members=tuple(shifted)),))
    with pytest.raises(UserError, match="other units"):
        units.verify(apply, params, wrong, x, key=jax.random.key(0))


def test_equinox():
    eqx = pytest.importorskip("equinox")

    class Model(eqx.Module):
        conv: eqx.nn.Conv2d
        norm: eqx.nn.GroupNorm
        attention: eqx.nn.MultiheadAttention
        mlp: eqx.nn.MLP

        def __call__(self, x):
            x = jax.nn.relu(self.norm(self.conv(x))).reshape(4, -1).T
            return self.mlp(self.attention(x, x, x).mean(0))

    def make(a, b, c):
        return Model(
            eqx.nn.Conv2d(3, 4, 3, key=a), eqx.nn.GroupNorm(2, 4),
            eqx.nn.MultiheadAttention(2, 4, key=b), eqx.nn.MLP(4, 2, 6, 2, key=c),
        )  # fmt: skip

    model = nets.filled(eqx.filter_eval_shape(make, *jax.random.split(jax.random.key(0), 3)))
    params, static = eqx.partition(model, eqx.is_array)
    x = nets.normal(1, 2, 3, 6, 6)

    def apply(params, x):
        return jax.vmap(eqx.combine(params, static))(x)

    groups = units.discover(apply, params, x)
    sizes = {group.name: group.size for group in groups.groups}
    assert sizes["mlp/layers/0/weight:0"] == sizes["mlp/layers/1/weight:0"] == 6
    assert sizes["attention/query_proj/weight:0"] == 2
    assert units.verify(apply, params, groups, x, key=jax.random.key(2), each=False) <= 1e-5


@pytest.mark.parametrize(
    ("kind", "name", "roles"),
    [
        ("vgg", "params/Conv_0/kernel:3", {
            "params/Conv_0/kernel:3": "produces", "params/Conv_1/kernel:2": "consumes",
            "params/Conv_0/bias:0": "adds", "params/BatchNorm_0/bias:0": "adds",
            "batch_stats/BatchNorm_0/mean:0": "adds", "batch_stats/BatchNorm_0/var:0": "scales",
            "params/BatchNorm_0/scale:0": "scales",
        }),
        ("recurrent", "params/GRUCell_0/ir/kernel:1", {
            "params/GRUCell_0/hr/kernel:0": "consumes", "params/GRUCell_0/hr/kernel:1": "produces",
            "params/GRUCell_0/in/bias:0": "adds", "params/Dense_1/kernel:0": "consumes",
        }),
        ("mobilenet", "params/expand/kernel:3", {"params/depthwise/kernel:3": "produces"}),
        ("tied", "embed:1", {"embed:1": "both", "shared:0": "consumes", "shared:1": "produces"}),
    ],
)  # fmt: skip
def test_what_a_leaf_does_for_a_unit(kind, name, roles):
    net = nets.NETS[kind]()
    group = units.discover(net.apply, net.variables, *net.inputs).named(name)
    found = {f"{m.path}:{m.axis}": m.role for m in group.members}
    assert {key: found[key] for key in roles} == roles and not group.summed


@pytest.mark.parametrize(
    ("kind", "name"),
    [("llama", "embed:1"), ("convnext_fast", "params/stem/kernel:3"),
     ("vit", "params/attention/query/kernel:2"), ("branches", "a:1")],
)  # fmt: skip
def test_sums_over_activations_are_reported(kind, name):
    net = nets.NETS[kind]()
    groups = units.discover(net.apply, net.variables, *net.inputs)
    assert groups.named(name).summed
