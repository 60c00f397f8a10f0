"""A mask transform on units decides about whole neurons, by what they are worth and would gain."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gpnas import masks as gm
from gpnas import models, units
from gpnas.errors import UserError
from gpnas.masks import plasticity, schedule, score

MODULE = models.LeNet300(num_classes=3, widths=(10, 6))
IMAGES = jnp.ones((2, 2, 2, 1))
VARIABLES = MODULE.init(jax.random.key(0), IMAGES)
PARAMS = VARIABLES["params"]
GROUPS = units.groups_in_params(units.discover(MODULE.apply, VARIABLES, IMAGES))
FIRST = "params/Dense_0/kernel:1"


def fixed(name, values):
    return score.Score(name, {}, lambda kept, ctx: values)


def values(seed):
    rng = np.random.default_rng(seed)
    return {g.name: jnp.asarray(rng.permutation(g.size), jnp.float32) for g in GROUPS.groups}


def context(step):
    return gm.MaskContext(jnp.int32(step), PARAMS, PARAMS, jax.random.key(step))


@pytest.mark.slow
def test_the_least_worth_goes_and_the_most_gain_comes():
    worth, gain = values(0), values(1)
    inner = plasticity(
        drop=score.magnitude(), grow=score.gradient(), density=schedule.constant(0.5),
        churn=schedule.constant(0.7), every=1, regrow=False, allocation=gm.allocate.uniform(),
    )  # fmt: skip
    transform = units.on_units(inner, GROUPS, fixed("w", worth), fixed("g", gain))
    masks, state = transform.init(gm.init_masks(PARAMS), PARAMS, jax.random.key(0))
    new, after = jax.jit(transform.update)(masks, state, context(1))
    for group in GROUPS.groups:
        before, now = (np.asarray(s.units[group.name]) for s in (state, after))
        assert before.sum() == now.sum() == group.size // 2
        gone, come = np.flatnonzero(before & ~now), np.flatnonzero(now & ~before)
        assert len(gone) == len(come) == {10: 2, 6: 1}[group.size]
        worst = np.sort(worth[group.name][before])[: len(gone)]
        best = np.sort(gain[group.name][~before])[-len(come) :]
        np.testing.assert_array_equal(np.sort(worth[group.name][gone]), worst)
        np.testing.assert_array_equal(np.sort(gain[group.name][come]), best)
    expected = units.weight_masks(GROUPS, after.units, PARAMS, gm.init_masks(PARAMS))
    for name, layer in new.items():
        np.testing.assert_array_equal(layer["kernel"], expected[name]["kernel"])
        assert layer["bias"].shape == ()


def test_outgoing_masks_alone_make_the_same_function():
    active = {g.name: np.arange(g.size) % 3 > 0 for g in GROUPS.groups}
    silent = gm.apply(units.outgoing_masks(GROUPS, active, PARAMS), PARAMS)
    masked = gm.apply(units.weight_masks(GROUPS, active, PARAMS), PARAMS)
    out = [MODULE.apply({"params": params}, IMAGES) for params in (silent, masked)]
    np.testing.assert_allclose(*out, rtol=1e-6)
    assert (silent["Dense_0"]["kernel"] == PARAMS["Dense_0"]["kernel"]).all()


def test_statistics_are_kept_in_the_window_only():
    transform = units.on_units(
        plasticity(drop=score.magnitude(), grow=score.gradient(),
                   density=schedule.constant(0.5), every=10),
        GROUPS, units.score.removal_cost(GROUPS), units.score.growth_gain(GROUPS),
        every=10, window=3,
    )  # fmt: skip
    masks, state = transform.init(gm.init_masks(PARAMS), PARAMS, jax.random.key(0))
    seen = []
    for step in range(1, 11):
        ctx = dataclasses.replace(context(step), may_update=False)
        masks, state = transform.update(masks, state, ctx)
        seen.append(float(state.statistics["observations"]))
    assert seen == [0.0] * 7 + [1.0, 2.0, 3.0]
    kept = state.statistics["gradient@0.9"]
    assert set(kept) == {"Dense_1/kernel", "Dense_2/kernel"}  # the weights that read units


def test_what_something_sums_over_is_left_alone():
    summed = GROUPS.groups[0]._replace(summed="reduce_sum")
    variables = units.UnitGroups((summed._replace(members=()), GROUPS.groups[1]), ())
    assert [g.name for g in units.groups_in_params(variables).groups] == [GROUPS.groups[1].name]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["stage0_block0", "stage2_block1"])
def test_a_block_is_a_unit_among_others(name):
    module = models.ResNet(num_classes=3, width=2, blocks=2)
    variables = module.init(jax.random.key(0), jnp.ones((1, 8, 8, 3)))
    found = units.with_blocks(units.UnitGroups((), ()), variables, models.removable_blocks(module))
    group = found.named(f"block:{name}")
    assert group.size == 1 and units.is_block(group.name)
    masks = units.weight_masks(found, {group.name: np.zeros(1, bool)}, variables)
    flat = jax.tree_util.tree_flatten_with_path(masks)[0]
    inside = {gm.tree.path_name(path): not np.any(mask) for path, mask in flat}
    assert {path for path, gone in inside.items() if gone} == {
        path for path in inside if f"/{name}/" in path
    }


def test_scalars_of_a_block_go_with_it_and_cannot_make_its_output_zero():
    block = {"kernel": jnp.ones((2, 3)), "out": jnp.ones((3, 2)), "slope": jnp.float32(0.5)}
    none = units.UnitGroups((), ())
    blocks = {"b": ("b/*", "b/out")}
    found = units.with_blocks(none, {"b": block, "head": jnp.ones((2, 2))}, blocks)
    (group,) = found.groups
    assert [(m.path, m.role) for m in group.members] == [
        ("b/kernel", "produces"),
        ("b/out", "consumes"),
    ]
    gone = {group.name: np.zeros(1, bool)}
    masks = units.weight_masks(found, gone, {"b": block, "head": jnp.ones((2, 2))})
    assert masks["b"]["slope"] and not masks["b"]["out"].any()
    assert list(units.without_blocks({"b": block, "head": 0}, blocks, gone)) == ["head"]
    with pytest.raises(
        UserError, match=r"^blocks\.b: got 'b/slope', allowed: output leaves of one"
    ):
        units.with_blocks(none, {"b": block}, {"b": ("b/*", "b/slope")})


STILL = gm.stateful_identity(lambda masks, params, key: ())


@pytest.mark.parametrize("make", [units.score.magnitude, units.score.taylor, units.score.fpgm])
def test_scores_that_need_other_than_outgoing_weights(make):
    gain = units.score.growth_gain(GROUPS)
    with pytest.raises(ValueError, match='^on_units: got .*, allowed: scores of side="outgoing"'):
        units.on_units(STILL, GROUPS, make(GROUPS), gain)
    with pytest.raises(ValueError, match="^on_units: got "):
        units.on_units(STILL, GROUPS, score.ema(make(GROUPS)), gain)
    units.on_units(STILL, GROUPS, units.score.magnitude(GROUPS, "outgoing"), gain)
