"""Gradients of skip connections, and of units by GradMax, against those by autodiff."""

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


def dense(f):
    """Two dense layers; the second one is written the other way round."""
    params = {"in": nets.weight(0, 7, 6), "bias": jnp.zeros(6), "out": nets.weight(1, 4, 6)}

    def apply(p, x):
        return (p["out"] @ f(x @ p["in"] + p["bias"][None, None]).swapaxes(1, 2)).swapaxes(1, 2)

    return apply, params, nets.normal(2, 5, 3, 7), nets.normal(3, 5, 3, 4)


def convolutional(f):
    """Windows and strides that differ, and edges that are padded."""
    params = {
        "in": nets.weight(0, 3, 3, 2, 6),
        "bias": jnp.zeros(6),
        "out": nets.weight(1, 3, 2, 6, 4),
    }

    def conv(x, w, strides):
        numbers = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(x, w, strides, "SAME", dimension_numbers=numbers)

    def apply(p, x):
        return conv(f(conv(x, p["in"], (2, 1)) + p["bias"][None, None, None]), p["out"], (1, 2))

    return apply, params, nets.normal(2, 3, 7, 6, 2), nets.normal(3, 3, 4, 3, 4)


BUILDS = {"dense": dense, "convolutional": convolutional}


def half_active(build, f):
    """All of a network that is two units short."""
    apply, params, x, y = BUILDS[build](f)
    groups = units.discover(apply, params, x)
    (group,) = groups.groups
    before, after = {group.name: np.arange(6) < 4}, {group.name: np.ones(6, bool)}
    params = gm.apply(units.weight_masks(groups, before, params), params)

    def loss(out):
        return jnp.mean((out - y) ** 2)

    @jax.jit
    def slope(params):
        return jax.grad(lambda p: loss(apply(p, x)))(params)

    @jax.jit
    def gradients_of(params, x):
        with nets.strictly():
            return units.skip_gradients(apply, loss, params, groups, [group.name], x)

    return params, groups, before, after, gradients_of(params, x), slope


def side(group, values, role):
    """(units, entries) of the one leaf that makes or reads."""
    (member,) = (m for m in group.members if m.role == role)
    return nets.rows_of_units(values[member.path], member, group.size)


@pytest.mark.slow
@pytest.mark.parametrize("build", BUILDS)
def test_outgoing_weights_get_singular_values_as_their_first_gradient(build):
    params, groups, before, after, gradients, slope = half_active(build, lambda x: x)
    (group,) = groups.groups
    grown = grow.gradmax(gradients, norm=0.7)(params, groups, before, after, KEY)
    given, slopes = side(group, grown, "produces"), side(group, slope(grown), "consumes")
    values = np.linalg.svd(gradients[group.name], compute_uv=False)
    np.testing.assert_allclose(given[4:] @ gradients[group.name], slopes[4:], rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(slopes[4:], axis=1), 0.7 * values[:2], rtol=1e-4)
    best = np.linalg.norm(slopes[4:])
    for seed in range(10):
        drawn = grow.zero_outgoing()(params, groups, before, after, jax.random.key(seed))
        rows = side(group, drawn, "produces")
        rows = 0.7 * rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)
        assert np.linalg.norm(rows[4:] @ gradients[group.name]) < best


@pytest.mark.slow
@pytest.mark.parametrize("build", BUILDS)
def test_incoming_weights_get_them_whatever_bends_at_zero_like_the_identity(build):
    params, groups, before, after, gradients, slope = half_active(build, jnp.tanh)
    (group,) = groups.groups
    grown = grow.gradmax(gradients, zero="incoming")(params, groups, before, after, KEY)
    slopes = side(group, slope(grown), "produces")
    length = np.linalg.norm(side(group, params, "consumes")[:4], axis=1).mean()
    values = np.linalg.svd(gradients[group.name], compute_uv=False)
    np.testing.assert_allclose(np.linalg.norm(slopes[4:], axis=1), length * values[:2], rtol=1e-3)
    assert not side(group, grown, "produces")[4:].any()


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_networks_in_half_precision(dtype):
    def apply(p, x):
        return jnp.tanh(x @ p["in"]) @ p["out"] + jnp.ones((), dtype)

    def loss(out):
        return jnp.sum(out.astype(jnp.float32) ** 2)

    half = {"in": nets.weight(0, 3, 6).astype(dtype), "out": nets.weight(1, 6, 4).astype(dtype)}
    full = jax.tree.map(lambda x: x.astype(jnp.float32), half)
    found = []
    for params in (half, full):
        x = nets.normal(2, 5, 3).astype(params["in"].dtype)
        groups = units.discover(apply, params, x)
        (name,) = (group.name for group in groups.groups)
        found.append(units.skip_gradients(apply, loss, params, groups, [name], x)[name])
    assert found[0].dtype == jnp.float32
    np.testing.assert_allclose(found[0], found[1], rtol=0.1, atol=0.1)


def test_a_unit_that_several_layers_read_has_all_their_entries():
    net = nets.NETS["densenet"]()
    groups = units.discover(net.apply, net.variables, *net.inputs)
    name = "params/grow2/kernel:3"

    def gradients_of(variables):
        return units.skip_gradients(
            net.apply, lambda out: jnp.mean(out**2), variables, groups, [name], *net.inputs
        )

    found = jax.eval_shape(gradients_of, net.variables)
    assert found[name].shape == (3 * 3 * 10, 6)  # all that was there before, and the transition


def test_gradmax_leaves_the_function_and_masked_weights_alone():
    params, groups, before, after, gradients, _ = half_active("dense", jnp.tanh)
    apply, _, x, _ = dense(jnp.tanh)
    synapses = {"in": np.arange(42).reshape(7, 6) % 5 > 0, "bias": True, "out": True}
    for zero in ("outgoing", "incoming"):
        init = grow.gradmax(gradients, zero=zero)
        grown = init(params, groups, before, after, KEY, synapses)
        np.testing.assert_allclose(apply(grown, x), apply(params, x), atol=1e-6)
        assert not np.asarray(grown["in"])[:, 4:][~synapses["in"][:, 4:]].any()


def loop():
    """A hidden layer inside a loop."""
    params = {"in": nets.weight(0, 4, 6), "out": nets.weight(1, 6, 4)}

    def apply(p, x):
        return jax.lax.fori_loop(0, 2, lambda i, x: jnp.tanh(x @ p["in"]) @ p["out"], x)

    return nets.Net(apply, params, (nets.normal(2, 3, 4),))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "name", "why"),
    [
        ("vgg", "params/Conv_0/kernel:3", "same positions"),  # pooled between
        ("vgg", "params/Conv_1/kernel:3", "same positions"),  # flattened
        ("resnet", "params/stem/kernel:3", "2 kernels that produce it"),
        ("resnext", "params/before/kernel:3", "in conv_general_dilated"),  # grouped
        ("vit", "params/attention/value/kernel:2", "in dot_general"),  # two axes at once
        ("recurrent", "params/OptimizedLSTMCell_0/hi/kernel:1", "8 kernels"),
        ("loop", "in:1", "in scan"),
        ("tied", "none", "group"),
    ],
)
def test_skip_connections_that_do_not_exist_are_refused(kind, name, why):
    net = loop() if kind == "loop" else nets.NETS[kind]()
    groups = units.discover(net.apply, net.variables, *net.inputs)
    with pytest.raises(UserError, match=why):
        units.skip_gradients(net.apply, jnp.mean, net.variables, groups, [name], *net.inputs)


def test_a_kernel_that_no_layer_uses_is_refused():
    apply, params, x, _ = dense(jnp.tanh)
    groups = units.discover(apply, params, x)
    (group,) = groups.groups

    def first(p, x):
        return jnp.tanh(x @ p["in"])

    with pytest.raises(UserError, match="skip connection over .*: got 'out in no layer', allowed"):
        units.skip_gradients(first, jnp.mean, params, groups, [group.name], x)


def test_gradmax_says_what_it_lacks():
    params, groups, before, after, gradients, _ = half_active("dense", jnp.tanh)
    with pytest.raises(UserError, match="zero"):
        grow.gradmax(gradients, zero="both")
    with pytest.raises(UserError, match="gradients"):
        grow.gradmax({})(params, groups, before, after, KEY)
    narrow = {name: matrix[:, :1] for name, matrix in gradients.items()}
    with pytest.raises(UserError, match="at most 1"):
        grow.gradmax(narrow)(params, groups, before, after, KEY)


@pytest.mark.slow
@pytest.mark.parametrize("zero", ["outgoing", "incoming"])
def test_the_control_has_another_direction_and_the_same_length(zero):
    params, groups, before, after, gradients, _ = half_active("dense", jnp.tanh)
    (group,), role = groups.groups, {"outgoing": "produces", "incoming": "consumes"}[zero]
    with nets.strictly():
        ours = grow.gradmax(gradients, zero=zero)(params, groups, before, after, KEY)
        theirs = grow.random(zero=zero)(params, groups, before, after, KEY)
    ours, theirs = (side(group, values, role)[4:] for values in (ours, theirs))
    lengths = [np.linalg.norm(rows, axis=1) for rows in (ours, theirs)]
    np.testing.assert_allclose(*lengths, rtol=1e-5)
    assert np.all(np.abs(np.sum(ours * theirs, 1)) < 0.99 * lengths[0] ** 2)
