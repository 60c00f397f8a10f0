"""Combinators, paths and leaves."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gpnas.masks import (
    MaskContext,
    MaskTransform,
    allocate,
    apply,
    between,
    chain,
    cond_inplace,
    every,
    identity,
    init_masks,
    is_weight,
    masked,
    masked_leaves,
    plasticity,
    ranking,
    schedule,
    score,
    stateful_identity,
    summary,
    switch,
    tree,
    update_leaves,
    when,
)
from gpnas.methods import build

KEY = jax.random.key(0)
PARAMS = {
    "Dense_0": {"kernel": jnp.arange(1.0, 25.0).reshape(4, 6), "bias": jnp.zeros(6)},
    "Dense_1": {"kernel": jnp.arange(1.0, 19.0).reshape(6, 3), "bias": jnp.zeros(3)},
}
K0, K1 = "Dense_0/kernel", "Dense_1/kernel"


def context(step=0, may_update=True):
    return MaskContext(jnp.int32(step), PARAMS, PARAMS, KEY, may_update)


def flip():
    """Turns every mask over at events, and counts the steps that it has seen."""

    def update(masks, state, ctx):
        live = masked_leaves(masks)
        turned = cond_inplace(ctx.may_update, lambda x: jax.tree.map(jnp.logical_not, x), live)
        return update_leaves(masks, turned), state + 1

    return MaskTransform(lambda masks, params, key: (masks, jnp.int32(0)), update)


def changes(transform, steps=12):
    """The steps at which the masks change, and those at which they may."""
    masks, state = transform.init(init_masks(PARAMS), PARAMS, KEY)
    update = jax.jit(transform.update)
    changed, may = [], []
    for step in range(steps):
        new, state = update(masks, state, context(step))
        if any((a != b).any() for a, b in zip(*map(jax.tree.leaves, (masks, new)), strict=True)):
            changed.append(step)
        if transform.may_change(jnp.int32(step)):
            may.append(step)
        masks = new
    return changed, may, state


@pytest.mark.slow
@pytest.mark.parametrize(
    ("transform", "expected"),
    [
        (flip(), list(range(12))),
        (identity(), []),
        (every(flip(), 3), [0, 3, 6, 9]),
        (between(flip(), 2, 5), [2, 3, 4]),
        (between(flip(), 9, None), [9, 10, 11]),
        (every(between(flip(), 3, 9), 2), [4, 6, 8]),
        (between(every(flip(), 2), 3, 9), [4, 6, 8]),
        (when(flip(), lambda step: step == 7), [7]),
        (chain(), []),
        (chain(every(flip(), 4), between(flip(), 5, 7)), [0, 4, 5, 6, 8]),
        (switch({0: every(flip(), 5), 6: flip()}), [0, 5, 6, 7, 8, 9, 10, 11]),
        (masked(every(flip(), 6), "*"), [0, 6]),
    ],
)
def test_events_are_where_they_should_be(transform, expected):
    changed, may, _ = changes(transform)
    assert changed == may == expected


def test_statistics_are_kept_between_events():
    assert changes(every(flip(), 5))[2] == 12
    assert changes(switch({0: flip(), 6: flip()}))[2] == (12, 12)


def test_a_quiet_update_compiles_no_event():
    def refuse(masks, state, ctx):
        assert ctx.may_update is False  # known while tracing
        return masks, state

    transform = every(between(MaskTransform(lambda m, p, k: (m, ()), refuse), 1, 9), 3)
    jax.jit(lambda masks: transform.update(masks, (), context(3, may_update=False)))(
        init_masks(PARAMS)
    )


def test_bad_combinators_are_refused():
    with pytest.raises(ValueError, match="every"):
        every(flip(), 0)
    for starts in ({}, {5: flip()}):
        with pytest.raises(ValueError, match="switch"):
            switch(starts)


def test_chain_gives_each_a_key_of_its_own_and_the_masks_of_the_one_before():
    keys, seen = [], []

    def spy():
        def update(masks, state, ctx):
            keys.append(jax.random.key_data(ctx.key).tolist())
            seen.append(int(masks[K0].sum()))
            return {**masks, K0: masks[K0] & (jnp.cumsum(masks[K0].ravel()) > 1).reshape(4, 6)}, ()

        return MaskTransform(lambda masks, params, key: (masks, ()), update)

    transform = chain(spy(), spy(), spy())
    masks = {K0: jnp.ones((4, 6), bool)}
    masks, state = transform.init(masks, masks, KEY)
    transform.update(masks, state, context())
    assert seen == [24, 23, 22]
    assert len({tuple(k) for k in keys}) == 3


def test_masked_sees_and_changes_only_its_leaves():
    for where in ("Dense_1/*", lambda path, leaf: leaf.shape == (6, 3)):
        transform = masked(flip(), where)
        masks, state = transform.init(init_masks(PARAMS), PARAMS, KEY)
        masks, _ = transform.update(masks, state, context())
        assert masks["Dense_0"]["kernel"].all() and not masks["Dense_1"]["kernel"].any()
        chex.assert_trees_all_equal_shapes_and_dtypes(masks, init_masks(PARAMS))


@pytest.mark.slow
def test_masked_parts_can_have_methods_of_their_own():
    rank = ranking(score.magnitude(), schedule.constant(0.5))
    grow = plasticity(
        drop=score.magnitude(), grow=score.random(), density=schedule.constant(0.25), every=1
    )
    transform = chain(masked(rank, K0), masked(grow, K1))
    masks, state = jax.jit(transform.init)(init_masks(PARAMS), PARAMS, KEY)
    masks, _ = jax.jit(transform.update)(masks, state, context(1))
    assert {p: int(m.sum()) for p, m in masked_leaves(masks).items()} == {K0: 12, K1: 4}


@pytest.mark.slow
def test_switch_starts_with_the_masks_of_the_first():
    def at(density):
        return plasticity(
            drop=score.magnitude(),
            grow=score.random(),
            density=schedule.constant(density),
            allocation=allocate.Allocation(
                lambda shapes, d: {(p,): jnp.round(d * 6).astype(jnp.int32) for p in shapes}
            ),
            every=1,
        )

    transform = switch({0: at(1.0), 5: at(0.5)})
    masks, state = jax.jit(transform.init)(init_masks(PARAMS), PARAMS, KEY)
    update = jax.jit(transform.update)
    alive = []
    for step in range(8):
        masks, state = update(masks, state, context(step))
        alive.append(int(masks["Dense_0"]["kernel"].sum()))
    assert alive == [6] * 5 + [3] * 3


@pytest.mark.parametrize("backend", ["cpu", "gpu"])
def test_sometimes_is_cond(backend, monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: backend)

    def f(x):
        return {"a": x["a"] * 2 + 1, "b": x["b"] & False}

    x = {"a": jnp.arange(3.0), "b": jnp.ones(2, bool)}
    for condition in (True, False):
        expected = jax.lax.cond(condition, f, lambda x: x, x)
        chex.assert_trees_all_equal(cond_inplace(condition, f, x), expected)
        chex.assert_trees_all_equal(
            jax.jit(lambda c: cond_inplace(c, f, x))(jnp.bool_(condition)), expected
        )
        either = jax.jit(lambda c: cond_inplace(c, f, x, lambda x: f(f(x))))(jnp.bool_(condition))
        chex.assert_trees_all_equal(either, f(x) if condition else f(f(x)))
    many = jax.vmap(lambda c: cond_inplace(c, f, x))(jnp.array([True, False]))
    chex.assert_trees_all_equal(jax.tree.map(lambda y: y[0], many), f(x))
    chex.assert_trees_all_equal(jax.tree.map(lambda y: y[1], many), x)


def test_carry_keeps_what_it_was_given():
    transform = stateful_identity(lambda *_: {"best": jnp.float32(3.0)})
    masks, state = transform.init(init_masks(PARAMS), PARAMS, KEY)
    after, kept = transform.update(masks, {"best": state["best"] + 1}, context())
    assert all(m.all() for m in jax.tree.leaves(after))
    assert kept == {"best": 4.0}
    assert not transform.may_change(jnp.int32(0))


def test_identity_changes_nothing():
    masks, state = identity().init(init_masks(PARAMS), PARAMS, KEY)
    masks, _ = identity().update(masks, state, context())
    chex.assert_trees_all_equal(masks, init_masks(PARAMS))


@pytest.mark.slow
def test_ranking_is_dense_until_it_judges():
    transform = ranking(score.magnitude(), schedule.constant(0.5), start=3, stop=4)
    masks, state = transform.init(init_masks(PARAMS), PARAMS, KEY)
    for step in range(6):
        masks, state = transform.update(masks, state, context(step))
        assert float(summary.density(masks)) == (0.5 if step >= 3 else 1.0)
    for path, mask in masked_leaves(masks).items():
        weights = np.asarray(masked_leaves(masks, PARAMS)[path])
        assert weights[mask].min() > weights[~np.asarray(mask)].max()


def test_full_masks_and_their_leaves():
    masks = init_masks(PARAMS)
    chex.assert_trees_all_equal_structs(masks, PARAMS)
    assert masks["Dense_0"]["bias"].shape == () and masks["Dense_0"]["bias"].dtype == bool
    assert list(masked_leaves(masks)) == [K0, K1]
    assert not masked_leaves(init_masks(PARAMS, lambda path, leaf: False))
    assert list(masked_leaves(init_masks(PARAMS, "*bias"))) == ["Dense_0/bias", "Dense_1/bias"]
    assert masked_leaves(masks, PARAMS)[K0] is PARAMS["Dense_0"]["kernel"]
    assert not is_weight("w", jnp.ones((2, 2), jnp.int32)) and not is_weight("b", jnp.ones(2))


def test_update_leaves_is_the_inverse_of_masked_leaves():
    masks = init_masks(PARAMS)
    other = {K1: jnp.zeros((6, 3), bool)}
    new = update_leaves(masks, other)
    assert masked_leaves(new)[K0].all() and not masked_leaves(new)[K1].any()
    chex.assert_trees_all_equal(update_leaves(new, masked_leaves(masks)), masks)


def test_paths_are_in_natural_order():
    params = {f"Dense_{i}": jnp.ones((1, 1)) for i in range(12)}
    assert list(masked_leaves(init_masks(params))) == [f"Dense_{i}" for i in range(12)]
    superscripts = {"x²": jnp.ones((1, 1)), "x10": jnp.ones((1, 1)), "x9²": jnp.ones((1, 1))}
    assert list(masked_leaves(init_masks(superscripts))) == ["x9²", "x10", "x²"]
    assert tree.lookup({"Dense_1*": 1, "*": 2}, "Dense_11", 0) == 1
    assert tree.lookup({}, "x", 7) == 7


@pytest.mark.slow
@pytest.mark.parametrize(
    "transform",
    [
        plasticity(drop=score.magnitude(), grow=score.gradient(), density=schedule.constant(0.5),
                   churn=schedule.constant(0.5), every=1),
        ranking(score.magnitude(), schedule.constant(0.5)),
        build({"name": "snfs", "density": 0.5, "every": 1}, total_steps=9, batch_size=1,
              shapes={"x": (4, 4)}).transform,
    ],
    ids=["plasticity", "ranking", "snfs"],
)  # fmt: skip
def test_random_keys_follow_the_natural_order_of_layers(transform):
    """Where all scores are equal, keys decide: the same for Dense_2 and Dense_02 of twelve."""

    def updated(names):
        masks = {name: jnp.arange(16).reshape(4, 4) % 2 == 0 for name in names}
        ones = {name: jnp.ones((4, 4)) for name in names}
        state = transform.init(init_masks(ones), ones, KEY)[1]
        masks, _ = transform.update(masks, state, MaskContext(jnp.int32(1), ones, ones, KEY))
        return [masks[name] for name in names]

    short = updated([f"Dense_{i}" for i in range(12)])
    chex.assert_trees_all_equal(short, updated([f"Dense_{i:02}" for i in range(12)]))
    assert len({mask.tobytes() for mask in map(np.asarray, short)}) > 6


def test_two_leaves_of_one_path_are_refused():
    x = jnp.ones((2, 2))
    with pytest.raises(ValueError, match="two leaves a/b"):
        init_masks({"a": {"b": x}, "a/b": x})


def test_apply_selects_and_does_not_multiply():
    params = {"w": jnp.array([[1.0, jnp.nan], [jnp.inf, 2.0]]), "b": jnp.array([jnp.nan])}
    masks = {"w": jnp.array([[True, False], [False, True]]), "b": jnp.bool_(True)}
    out = apply(masks, params)
    assert out["w"].tolist() == [[1, 0], [0, 2]] and jnp.isnan(out["b"][0])
    half = apply(masks, jax.tree.map(lambda p: p.astype(jnp.bfloat16), params))
    assert half["w"].dtype == jnp.bfloat16


def test_keys_belong_to_paths():
    two = tree.keys_for(KEY, {"a": 0, "b": 0})
    three = tree.keys_for(KEY, {"new": 0, "b": 0, "a": 0})
    assert two["a"] == three["a"] and two["b"] == three["b"] and two["a"] != two["b"]


def test_summaries():
    old = init_masks(PARAMS)
    new = update_leaves(old, {K0: jnp.ones((4, 6), bool).at[1].set(False).at[:, 2:4].set(False)})
    assert {p: int(n) for p, n in summary.active_counts(new).items()} == {K0: 12, K1: 18}
    assert float(summary.density(new)) == pytest.approx(30 / 42)
    woken, dropped = summary.changes(old, new)
    assert int(dropped[K0]) == 12 and int(dropped[K1]) == int(woken[K0]) == 0
    first = summary.layers(new)[0]
    assert first == summary.LeafSummary(K0, (4, 6), 12, dead_in=1, dead_out=2)


def test_a_context_is_a_pytree():
    ctx = context(3)
    assert jax.jit(lambda c: c.step + 1)(ctx) == 4
    assert dataclasses.replace(ctx, may_update=False).may_update is False


def test_weights_are_counted_in_int32_or_refused():
    """Two leaves of 1.2 billion weights would have a negative count."""
    masks = {"kernel": jax.ShapeDtypeStruct((40_000, 30_000), bool)}
    assert jax.eval_shape(lambda m: tree.total(m.values()), masks).dtype == jnp.int32
    with pytest.raises(ValueError, match="masks: got 2400000000 elements, allowed: at most 214"):
        jax.eval_shape(lambda m: tree.total([*m.values(), *m.values()]), masks)
