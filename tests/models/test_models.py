"""The networks have the shapes of the literature, and the fast layers are the plain ones."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from gpnas import models
from gpnas.masks import init_masks, masked_leaves
from gpnas.models import (
    MODELS,
    ConvNet,
    DartsNet,
    Genotype,
    LeNet5,
    LeNet300,
    ResNet,
    avg_pool_3x3,
    im2col_conv,
    max_pool,
)

KEY = jax.random.key(0)
SMALL = {
    "cellnet": {"channels": 2}, "convnet": {"widths": (2, 3, 4, 5)}, "lenet300": {"widths": (2, 3)},
    "lenet5": {"widths": (2, 3, 4)}, "resnet": {"width": 2},
}  # fmt: skip


def variables_of(module, shape):
    images = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
    return jax.eval_shape(module.init, KEY, images)


@pytest.mark.parametrize(
    ("module", "shape", "weights", "params"),
    [
        (LeNet300(), (28, 28, 1), 266_200, 266_610),
        (LeNet5(), (28, 28, 1), 430_500, 431_080),
        (ResNet(blocks=3), (32, 32, 3), 268_336 + 2_560, None),  # 2,560: its 1 × 1 shortcuts
    ],
    ids=["lenet300", "lenet5", "resnet20"],
)
def test_sizes(module, shape, weights, params):
    tree = variables_of(module, shape)["params"]
    masks = jax.eval_shape(init_masks, tree)
    assert sum(leaf.size for leaf in masked_leaves(masks, tree).values()) == weights
    if params:
        assert sum(leaf.size for leaf in jax.tree.leaves(tree)) == params


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("name", MODELS)
def test_logits_are_float32_whatever_computes(name, dtype):
    module = MODELS[name](num_classes=7, dtype=dtype, **SMALL[name])
    images = jax.ShapeDtypeStruct((3, 28, 28, 1), jnp.float32)
    variables = jax.eval_shape(module.init, KEY, images)
    logits, state = jax.eval_shape(
        lambda v, x: module.apply(v, x, train=True, mutable=["batch_stats"]), variables, images
    )
    assert logits.shape == (3, 7) and logits.dtype == jnp.float32
    assert all(p.dtype == jnp.float32 for p in jax.tree.leaves((variables, state)))


@pytest.mark.slow
@pytest.mark.parametrize("padding", ["SAME", "VALID", [(2, 0), (1, 3)]], ids=str)
@pytest.mark.parametrize("strides", [(1, 1), (2, 2), (2, 1)], ids=str)
@pytest.mark.parametrize("kernel", [(3, 3), (5, 2), (1, 1)], ids=str)
def test_im2col_is_a_convolution(kernel, strides, padding):
    x = jax.random.normal(KEY, (2, 9, 8, 3))
    w = jax.random.normal(KEY, (*kernel, 3, 4))

    def plain(x, w):
        numbers = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(x, w, strides, padding, dimension_numbers=numbers)

    def fast(x, w):
        return im2col_conv(x, w, strides, padding)

    def both(f):
        out, back = jax.vjp(f, x, w)
        return out, back(jnp.sin(jnp.arange(out.size, dtype=out.dtype)).reshape(out.shape))

    got, expected = jax.jit(lambda: (both(fast), both(plain)))()
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), got, expected)


@pytest.mark.parametrize(
    ("kernel", "strides", "padding"), [(3, (1, 1), "SAME"), (5, (2, 1), "VALID")]
)
def test_im2col_is_a_depthwise_convolution(kernel, strides, padding):
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(2, 9, 8, 6)), jnp.float32)
    w = jnp.asarray(rng.normal(size=(kernel, kernel, 1, 6)), jnp.float32)
    wanted = jax.lax.conv_general_dilated(
        x, w, strides, padding, dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=6
    )
    found = im2col_conv(x, w, strides, padding, feature_group_count=6)
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)


def test_im2col_refuses_what_it_cannot_do():
    x, w = jnp.ones((1, 4, 4, 4)), jnp.ones((2, 2, 2, 4))
    for more in ({"rhs_dilation": (2, 2)}, {"lhs_dilation": (1, 2)}, {"feature_group_count": 2}):
        with pytest.raises(ValueError, match="im2col_conv"):
            im2col_conv(x, w, (1, 1), "SAME", **more)


NARROW = {
    LeNet5: ({"widths": (3, 4, 5)}, (28, 28, 1)),
    ConvNet: ({"widths": (3, 5, 4, 6)}, (14, 14, 1)),
    ResNet: ({"width": 4}, (16, 16, 3)),
}


@pytest.mark.slow
@pytest.mark.parametrize("model", NARROW)
def test_a_network_and_its_gradient_are_the_same_by_either_convolution(model):
    fields, shape = NARROW[model]
    images = jax.random.normal(KEY, (4, *shape))
    one, other = model(conv="xla", **fields), model(conv="im2col", **fields)
    variables = jax.jit(one.init)(KEY, images)

    def all_of(module):
        def loss(params):
            own = variables | {"params": params}
            logits, state = module.apply(own, images, train=True, mutable=["batch_stats"])
            return jnp.sum(jnp.sin(logits)), state

        return module.apply(variables, images), jax.grad(loss, has_aux=True)(variables["params"])

    found, expected = (jax.jit(all_of, static_argnums=0)(module) for module in (other, one))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, 1e-4, 1e-4), found, expected)


@pytest.mark.parametrize("model", NARROW)
def test_interceptors_see_channels_last_with_either_convolution(model):
    fields, shape = NARROW[model]
    images = jax.ShapeDtypeStruct((2, *shape), jnp.float32)

    def seen(conv):
        shapes = {}

        def watch(layer, args, kwargs, context):
            out = layer(*args, **kwargs)
            if isinstance(context.module, nn.Conv | nn.Dense):
                shapes[context.module.name] = args[0].shape, out.shape
            return out

        with nn.intercept_methods(watch):
            jax.eval_shape(model(conv=conv, **fields).init, KEY, images)
        return shapes

    assert seen("im2col") == seen("xla")


@pytest.mark.parametrize("model", NARROW)
def test_an_unknown_convolution_is_refused(model):
    fields, shape = NARROW[model]
    images = jax.ShapeDtypeStruct((2, *shape), jnp.float32)
    with pytest.raises(KeyError, match="im2row"):
        jax.eval_shape(model(conv="im2row", **fields).init, KEY, images)


@pytest.mark.slow
def test_a_sharded_batch_is_not_gathered_by_matrix_products():
    module = ConvNet(conv="im2col", widths=(3, 5, 4, 6))
    images = jax.ShapeDtypeStruct((96, 14, 14, 1), jnp.float32)
    variables = jax.eval_shape(module.init, KEY, images)
    mesh = jax.make_mesh((8,), ("batch",), axis_types=(jax.sharding.AxisType.Auto,))
    whole, split = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in ((), ("batch",)))

    def loss(params, stats, images):
        own = {"params": params, "batch_stats": stats}
        return jnp.sum(module.apply(own, images, train=True, mutable=["batch_stats"])[0])

    gradient = jax.jit(jax.grad(loss), in_shardings=(whole, whole, split), out_shardings=whole)
    lowered = gradient.lower(*(variables[name] for name in ("params", "batch_stats")), images)
    text = lowered.compile().as_text()
    assert "all-reduce(" in text and "all-gather(" not in text


@pytest.mark.parametrize(("window", "stride", "padding"), [(2, 2, 0), (3, 1, 1), (3, 2, 1)])
def test_max_pool_is_max_pool(window, stride, padding):
    def fast(x):
        return max_pool(x, window, stride, padding)

    def plain(x):
        return nn.max_pool(x, (window,) * 2, (stride,) * 2, [(padding,) * 2] * 2)

    x = jax.random.normal(KEY, (2, 9, 6, 3))  # no value ties
    expected, back = jax.vjp(plain, x)
    weight = jax.random.normal(jax.random.key(1), expected.shape)
    np.testing.assert_array_equal(fast(x), expected)
    found, back_fast = jax.vjp(fast, x)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_allclose(back_fast(weight)[0], back(weight)[0], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", [*MODELS, "darts"])
def test_gradients_are_without_select_and_scatter(name):
    """Which XLA's deterministic operations on GPUs lack."""
    nodes = ((("max_pool3", 0), ("max_pool3", 1)),)
    darts = {"architecture": Genotype(nodes, nodes), "channels": 2, "layers": 1}
    made = DartsNet(**darts) if name == "darts" else MODELS[name](**SMALL[name])
    images = jax.ShapeDtypeStruct((2, 28, 28, 1), jnp.float32)
    variables = jax.eval_shape(made.init, KEY, images)

    def loss(variables, images):
        return made.apply(variables, images, train=True, mutable=["batch_stats"])[0].sum()

    text = str(jax.make_jaxpr(jax.grad(loss))(variables, images))
    assert "dot_general" in text and "select_and" not in text


@pytest.mark.parametrize("stride", [1, 2])
def test_avg_pool_leaves_out_what_lies_outside(stride):
    x = jax.random.normal(KEY, (2, 5, 8, 3))
    strides, padding = (stride, stride), ((1, 1), (1, 1))
    expected = nn.avg_pool(x, (3, 3), strides, padding, count_include_pad=False)
    np.testing.assert_allclose(avg_pool_3x3(x, stride), expected, rtol=1e-5, atol=1e-6)


def test_a_sequence_gets_what_its_first_layer_takes():
    images = jnp.ones((2, 4))
    plain = models.linen(nn.Sequential([nn.Dense(8), nn.relu, nn.Dense(3)]))
    variables = plain.init(jax.random.key(0), images)
    assert plain.infer(variables, images).shape == (2, 3)
    inner = nn.Sequential([nn.Dropout(0.5), nn.Dense(3, use_bias=False)])
    model = models.linen(nn.Sequential([inner, nn.relu]))
    variables = model.init(jax.random.key(0), jnp.ones((2, 400)))

    def apply(key):
        return model.apply(variables, jnp.ones((2, 400)), key)[0]

    assert (apply(None) == apply(None)).all()
    assert (apply(jax.random.key(1)) != apply(jax.random.key(2))).any()
    assert models.linen(nn.Sequential([nn.relu, nn.Dense(3)])).init(jax.random.key(0), images)
