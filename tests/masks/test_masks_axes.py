"""Axes of leaves: inputs, outputs, stacked layers; by convention and by table."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpnas.masks import (
    Axes,
    MaskContext,
    allocate,
    axes,
    grow_at_fan_in,
    init_masks,
    masked,
    plasticity,
    schedule,
    score,
    select,
    summary,
    unstacked,
)

KEY = jax.random.key(0)
STACKED = {"layers/*": Axes(batch_axis=0)}
PARAMS = {
    "layers": {"kernel": jnp.zeros((4, 8, 80)), "bias": jnp.zeros((4, 80))},
    "head": {"kernel": jnp.zeros((8, 80))},
}


def rule(density, **settings):
    """A rule that exchanges a third of the weights at every step."""
    settings = {"every": 1, "churn": schedule.constant(0.3)} | settings
    return plasticity(
        drop=score.magnitude(), grow=score.gradient(), density=schedule.constant(density),
        **settings,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("path", "ndim", "expected"),
    [
        ("Dense_0/kernel", 2, ((), (), (0,), (1,))),
        ("Conv_0/kernel", 4, ((), (0, 1), (2,), (3,))),
        ("mlp/0/weight", 2, ((), (), (1,), (0,))),
        ("conv/weight", 4, ((), (2, 3), (1,), (0,))),
        ("attn/query/kernel", 3, ((), (), (0,), (1, 2))),
        ("attn/out/kernel", 3, ((), (), (0, 1), (2,))),
        ("layers/out/kernel", 4, ((0,), (), (1, 2), (3,))),
        ("layers/kernel", 3, ((0,), (), (1,), (2,))),
    ],
)
def test_conventions(path, ndim, expected):
    assert axes.sides(path, ndim, STACKED) == expected


def test_an_axis_is_named_once():
    with pytest.raises(ValueError, match="each axis once"):
        axes.sides("a", 2, {"a": Axes(in_axis=0, out_axis=0)})


@pytest.mark.parametrize("batch", [7, -4, (0, 0)])
def test_a_batch_axis_that_is_not_there_is_refused(batch):
    table = {"layers/kernel": Axes(batch_axis=batch)}
    masks = init_masks(PARAMS)
    for call in (
        lambda: init_masks(PARAMS, axes=table),
        lambda: axes.sides("layers/kernel", 3, table),
        lambda: unstacked(rule(0.1), table).init(masks, PARAMS, KEY),
    ):
        with pytest.raises(ValueError, match="^axes: got .* for layers/kernel of 3 axes, allowed"):
            call()


def test_globs_match_leaves_that_lack_the_other_axes():
    table = {"layers/*": Axes(1, 2, batch_axis=0)}
    masks = init_masks(PARAMS, axes=table)
    assert masks["layers"]["kernel"].shape == (4, 8, 80) and masks["layers"]["bias"].shape == ()
    unstacked(rule(0.1), table).init(masks, PARAMS, KEY)


@pytest.mark.slow
@settings(max_examples=20)
@given(st.permutations(range(4)), st.integers(0, 2))
def test_restored_is_the_inverse_of_canonical(order, batch):
    table = {"a": Axes(order[0], order[1], tuple(order[2 : 2 + batch]))}
    leaf = jnp.arange(120).reshape(2, 3, 4, 5)
    at = axes.sides("a", 4, table)
    assert (axes.restored(axes.canonical(leaf, at), at, leaf.shape) == leaf).all()


@pytest.mark.slow
@pytest.mark.parametrize("kind", [allocate.uniform, allocate.erk])
def test_each_stacked_layer_gets_its_own_share(kind):
    transform = unstacked(rule(0.1, allocation=kind()), STACKED)
    masks, state = transform.init(init_masks(PARAMS, axes=STACKED), PARAMS, KEY)
    assert masks["layers"]["bias"].shape == ()
    for step in range(1, 3):
        grads = jax.tree.map(lambda p: jax.random.normal(KEY, p.shape), PARAMS)
        ctx = MaskContext(jnp.int32(step), PARAMS, grads, KEY)
        old, (masks, state) = masks, jax.jit(transform.update)(masks, state, ctx)
        assert masks["layers"]["kernel"].sum((1, 2)).tolist() == [64] * 4
        assert int(masks["head"]["kernel"].sum()) == 64
        assert (old["layers"]["kernel"] != masks["layers"]["kernel"]).any()


@pytest.mark.slow
@settings(max_examples=5)
@given(st.integers(1, 3), st.floats(2**-4, 1, width=32), st.integers(0, 2))
def test_the_sum_over_stacked_layers_is_exact(layers, density, axis):
    shape = [6, 7]
    shape.insert(axis, layers)
    params = {"layers": {"kernel": jnp.zeros(shape)}, "head": {"kernel": jnp.zeros((7, 10))}}
    table = {"layers/*": Axes(batch_axis=axis)}
    transform = unstacked(rule(density, allocation=allocate.uniform()), table)
    masks, _ = transform.init(init_masks(params, axes=table), params, KEY)
    each = masks["layers"]["kernel"].sum(tuple(i for i in range(3) if i != axis))
    size = layers * 42 + 70
    assert abs(int(each.sum() + masks["head"]["kernel"].sum()) - density * size) <= 0.51
    assert (np.abs(np.asarray(each) - density * 42) < 1.01).all()


def test_erk_counts_stacked_layers_and_merged_axes_by_their_own_shape():
    stacked = allocate.erk(axes={"layers": Axes(batch_axis=0)})
    whole, plain = {"layers": (4, 64, 80), "head": (80, 10)}, {f"l{i}": (64, 80) for i in range(4)}
    got = stacked(whole, jnp.float32(0.1))
    expected = allocate.erk()(plain | {"head": (80, 10)}, jnp.float32(0.1))
    assert abs(int(got[("head",)]) - int(expected[("head",)])) <= 1
    merged = allocate.erk()({"query/kernel": (64, 8, 16), "head": (128, 10)}, jnp.float32(0.1))
    flat = allocate.erk()({"query/kernel": (64, 128), "head": (128, 10)}, jnp.float32(0.1))
    assert {k: int(v) for k, v in merged.items()} == {k: int(v) for k, v in flat.items()}


@pytest.mark.slow
def test_first_values_have_the_deviation_of_their_own_fan_in():
    for path, shape, table in (
        ("a/weight", (300, 50), None),
        ("query/kernel", (50, 20, 15), None),
        ("layers/kernel", (3, 50, 100), STACKED),
    ):
        mask = jnp.ones(shape, bool)
        drawn = grow_at_fan_in(axes=table)(path, mask, jnp.zeros(shape), KEY)
        assert float(drawn.std()) == pytest.approx(math.sqrt(2 / 50), rel=0.03)


@pytest.mark.slow
def test_n_of_m_and_blocks_lie_along_inputs():
    leaves = {"query/kernel": (8, 2, 3), "weight": (3, 8), "kernel": (3, 3, 8, 2)}
    values = {p: jax.random.normal(KEY, s) for p, s in leaves.items()}
    mask = select.n_of_m(2, 4)(values, 0, KEY)
    assert (mask["query/kernel"].reshape(2, 4, 6).sum(1) == 2).all()
    assert (mask["weight"].reshape(3, 2, 4).sum(2) == 2).all()
    assert (mask["kernel"].reshape(9, 2, 4, 2).sum(2) == 2).all()
    tiles = select.blocks((4, 1))({"weight": values["weight"]}, 12, KEY)["weight"].reshape(3, 2, 4)
    assert (tiles.all(2) == tiles.any(2)).all() and int(tiles.sum()) == 12


def test_units_of_stacked_and_equinox_leaves():
    masks = {"layers/kernel": jnp.ones((2, 3, 4), bool).at[0, 1].set(False)}
    ins, outs = summary.units(masks, STACKED)["layers/kernel"]
    assert ins.tolist() == [[True, False, True], [True] * 3] and outs.shape == (2, 4)
    ins, outs = summary.units({"weight": jnp.ones((4, 3), bool)})["weight"]
    assert ins.shape == (3,) and outs.shape == (4,)


def test_layers_count_the_units_of_stacked_layers_and_of_other_axes():
    stacked = jnp.ones((2, 3, 4), bool).at[0, 1].set(False).at[1, :, 2:].set(False)
    turned = jnp.ones((5, 2, 3), bool).at[:, 0].set(False)
    masks = {"layers/bias": jnp.bool_(True), "layers/kernel": stacked, "turned": turned}
    table = {
        "layers/bias": Axes(batch_axis=0),
        **STACKED,
        "turned": Axes(in_axis=(1, 2), out_axis=0),
    }
    assert [leaf[2:] for leaf in summary.layers(masks, table)] == [(14, 1, 2), (15, 3, 0)]
    assert [leaf[2:] for leaf in summary.layers(masks)] == [(14, 0, 0), (15, 1, 0)]


def test_globs_that_match_nothing_are_refused_and_near_paths_listed():
    shapes = {"encoder/kernel": (4, 4), "head/kernel": (4, 4)}
    params = {p: jnp.zeros(s) for p, s in shapes.items()}
    ctx = MaskContext(jnp.int32(0), params, params, KEY)
    refused = {
        "encoder/kernel": [
            lambda: masked(rule(0.1), "encodr/*").init(init_masks(params), params, KEY),
            lambda: init_masks(params, "encodr/kernel"),
            lambda: init_masks(params, axes={"encodr/*": Axes()}),
            lambda: summary.units(init_masks(params), {"encodr/*": Axes()}),
            lambda: unstacked(rule(0.1), {"encodr/*": Axes()}).init(
                init_masks(params), params, KEY
            ),
            lambda: allocate.erk(dense=["encodr/*"])(shapes, jnp.float32(0.1)),
            lambda: allocate.by_cost({"encodr/*": 2.0})(shapes, jnp.float32(0.1)),
            lambda: allocate.per_leaf({"encodr/*": 1.0, "*": 1.0})(shapes, jnp.float32(0.1)),
            lambda: score.per_cost(score.magnitude(), {"encodr/*": 2.0}).value({}, ctx),
        ]
    }
    for near, calls in refused.items():
        for call in calls:
            with pytest.raises(ValueError, match=f"encodr.*{near}") as error:
                call()
            assert "\n" not in str(error.value)
    allocate.by_cost({"another/layer": 2.0})(shapes, jnp.float32(0.1))  # a table of names


def test_a_density_is_a_fraction():
    with pytest.raises(
        ValueError, match=r"density: got 30 at step 0, allowed: a number in \[0, 1\]"
    ):
        rule(30)


def test_globs_for_linen_serve_nnx():
    nnx = pytest.importorskip("flax.nnx")
    params = nnx.state(nnx.Linear(4, 3, rngs=nnx.Rngs(0)), nnx.Param)
    assert summary.active_counts(init_masks(params, "*kernel")) == {"kernel": 12}


@pytest.mark.slow
def test_what_is_no_array_is_named():
    equinox = pytest.importorskip("equinox")
    module = equinox.nn.MLP(2, 2, 3, 1, key=KEY)
    with pytest.raises(ValueError, match="init_masks: got .* at activation, allowed: arrays"):
        init_masks(module)
    assert summary.active_counts(init_masks({"w": jnp.ones((2, 2)), "scale": 1.0})) == {"w": 4}


@pytest.mark.parametrize(
    "allocation",
    [allocate.erk(), allocate.uniform(), allocate.global_(), allocate.by_cost({}),
     allocate.per_leaf({"*": 1.0})],
)  # fmt: skip
def test_empty_leaves_get_nothing(allocation):
    got = allocation({"a": (3, 7), "empty": (0, 5), "b": (5, 5)}, jnp.float32(0.3))
    assert sum(int(k) for k in got.values()) == round(0.3 * 46)
    assert int(got.get(("empty",), 0)) == 0
    allocate.check_feasible(allocation, {"a": (3, 7), "empty": (0, 5), "b": (5, 5)}, 0.3)
    assert all(int(k) == 0 for k in allocation({"empty": (0, 5)}, jnp.float32(0.3)).values())
