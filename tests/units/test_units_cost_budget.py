"""Units of all groups compete under a budget of cost, which is met within one unit."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gpnas import models, units
from gpnas.masks import MaskContext, finite, schedule

MODULE = models.ConvNet(num_classes=3, widths=(4, 6, 8, 10))
IMAGES = jnp.ones((1, 8, 8, 1))
VARIABLES = jax.eval_shape(MODULE.init, jax.random.key(0), IMAGES)
MODEL = units.cost_model(MODULE.apply, VARIABLES, IMAGES)
KEY = jax.random.key(0)


def scores(seed):
    rng = np.random.default_rng(seed)
    return {n: jnp.asarray(rng.uniform(0.1, 1, k), jnp.float32) for n, k in MODEL.sizes.items()}


LEAST = dict.fromkeys(MODEL.sizes, 1)


@functools.cache
def program(kind, churn, round_to):
    """(transform, update, costs); the budget of step i is i / 10,000, so that one program does."""
    costs = units.relative_costs(MODEL, kind)
    least = units.fewest_units(MODEL.sizes, 0.0, round_to)
    transform = units.cost_budget(
        costs,
        lambda step: step.astype(jnp.float32) / jnp.float32(1e4),
        schedule.constant(churn),
        least=least,
        round_to=round_to,
    )
    return transform, jax.jit(transform.update), costs


def updated(budget, masks, kind="macs", churn=0.0, seed=0, state=None, round_to=1):
    """(masks after an update, state, costs)."""
    transform, update, costs = program(kind, churn, round_to)
    init = transform.init(masks, scores(seed), KEY)[1]
    ctx = MaskContext(jnp.int32(round(budget * 1e4)), scores(seed), scores(seed + 1), KEY)
    return *update(masks, state or init, ctx), costs


def all_active():
    return {name: jnp.ones(k, bool) for name, k in MODEL.sizes.items()}


BUDGETS = st.integers(1500, 10_000).map(lambda number: number / 1e4)


@pytest.mark.slow
@settings(max_examples=10)
@given(BUDGETS, st.sampled_from(units.KINDS), st.integers(0, 99))
def test_the_budget_is_met_within_one_unit(budget, kind, seed):
    active, _, costs = updated(budget, all_active(), kind, seed=seed)
    spent = float(costs.total(active))
    assert spent <= budget * (1 + 1e-5)
    cheapest = (
        min(float(c[~m].min()) for c, m in of_inactive(costs, active) if (~m).any())
        if any((~m).any() for m in active.values())
        else np.inf
    )
    assert spent + cheapest > budget * (1 - 1e-5)  # nothing more fits


@pytest.mark.slow
@settings(max_examples=10)
@given(BUDGETS, st.sampled_from((2, 3, 4)), st.integers(0, 99))
@example(1.0, 3, 34)
def test_numbers_of_units_are_multiples_or_whole_groups(budget, multiple, seed):
    least = units.fewest_units(MODEL.sizes, 0.0, multiple)
    half, state, costs = updated(0.5, all_active(), seed=seed, round_to=multiple)
    active, _, _ = updated(budget, half, churn=0.3, seed=seed, state=state, round_to=multiple)
    spent = float(costs.total(active))
    counts = {n: int(m.sum()) for n, m in active.items()}
    assert all(k % multiple == 0 or k == MODEL.sizes[n] for n, k in counts.items())
    assert least == {n: min(multiple, k) for n, k in MODEL.sizes.items()}
    fewest = {n: jnp.arange(k) < min(multiple, k) for n, k in MODEL.sizes.items()}
    assert spent <= max(budget, float(costs.total(fewest))) * (1 + 1e-5)
    for n, k in counts.items():  # nothing more fits
        more = min((k // multiple + 1) * multiple, MODEL.sizes[n])
        wider = active | {n: jnp.arange(MODEL.sizes[n]) < more}
        assert more == k or float(costs.total(wider)) > budget * (1 - 1e-5)


def test_the_fewest_units_are_a_multiple():
    with pytest.raises(ValueError, match="allowed: a multiple of round_to = 4"):
        units.cost_budget(
            units.relative_costs(MODEL), schedule.constant(0.5), least=LEAST, round_to=4
        )


def test_the_first_units_are_a_multiple_in_each_group():
    least = units.fewest_units(MODEL.sizes, 0.0, 4)
    transform = units.cost_budget(
        units.relative_costs(MODEL), schedule.constant(0.5), least=least, round_to=4
    )
    masks = transform.init(all_active(), {}, KEY)[0]
    assert all(int(m.sum()) % 4 == 0 or m.all() for m in masks.values())
    assert any(not m.all() for m in masks.values())


def of_inactive(costs, active):
    marginal = costs.marginal(active)
    return [(np.asarray(marginal[n]), np.asarray(m)) for n, m in active.items()]


@pytest.mark.parametrize("reordered", ["scores", "gains", "costs", "masks"])
def test_units_are_found_by_name_in_dicts_of_any_order(reordered):
    costs = units.relative_costs(MODEL)
    assert list(reversed(MODEL.sizes)) != sorted(MODEL.sizes)

    def of(part, values):
        more = {"other": jnp.ones(3)} if part == "costs" else {}
        return more | dict(reversed(values.items())) if part == reordered else values

    def after(of):
        def marginal(active):
            return of("costs", costs.marginal(active))

        own = costs._replace(marginal=marginal)
        transform = units.cost_budget(
            own, schedule.constant(0.5), schedule.constant(0.3), least=LEAST
        )
        drop, gain = of("scores", scores(0)), of("gains", scores(1))
        ctx = MaskContext(jnp.int32(1), drop, gain, KEY)  # arguments of jit would be sorted
        half = updated(0.5, all_active())[0]
        state = transform.init(half, drop, KEY)[1]
        return jax.jit(lambda: transform.update(of("masks", half), state, ctx)[0])()

    jax.tree.map(np.testing.assert_array_equal, after(of), after(lambda part, values: values))


@pytest.mark.parametrize("start", [0.2, 1.0])
def test_units_are_grown_up_to_the_budget(start):
    costs = units.relative_costs(MODEL)
    seeded = units.cost_budget(costs, schedule.constant(start), least=LEAST).init(
        all_active(), {}, KEY
    )[0]
    assert float(costs.total(seeded)) <= start * (1 + 1e-5)
    shares = [float(m.mean()) for m in seeded.values()]
    assert max(shares) - min(shares) <= 0.25  # the same fraction of each group, but for rounding
    active, _, _ = updated(1.0, seeded)
    assert all(bool(m.all()) for m in active.values())


def test_a_budget_of_the_whole_network_prunes_nothing():
    costs = units.relative_costs(MODEL)
    rounded = costs._replace(total=lambda active: costs.total(active) * (1 + 2e-7))
    transform = units.cost_budget(rounded, schedule.constant(1.0), least=LEAST)
    masks, state = transform.init(all_active(), scores(0), KEY)
    ctx = MaskContext(jnp.int32(1), scores(0), scores(1), KEY)
    for found in (masks, transform.update(all_active(), state, ctx)[0]):
        assert all(mask.all() for mask in found.values())


def test_the_units_of_lowest_score_per_cost_are_pruned():
    active, _, costs = updated(0.7, all_active())
    drop, whole = scores(0), all_active()
    for _ in range(sum(int((~m).sum()) for m in active.values())):
        marginal = costs.marginal(whole)
        ratio = {
            (n, i): float(drop[n][i] / marginal[n][i])
            for n, m in whole.items()
            for i in range(m.size)
            if m[i]
        }
        name, unit = min(ratio, key=ratio.get)
        whole[name] = whole[name].at[unit].set(False)
    # the last one that was pruned may fit again, in place of none
    changed = sum(int((whole[n] != active[n]).sum()) for n in active)
    assert changed <= 2


def test_no_group_falls_below_its_least():
    costs = units.relative_costs(MODEL)
    least = {n: k // 2 for n, k in MODEL.sizes.items()}
    transform = units.cost_budget(costs, schedule.constant(0.001), least=least)
    state = transform.init(all_active(), scores(0), KEY)[1]
    ctx = MaskContext(jnp.int32(1), scores(0), scores(1), KEY)
    active = jax.jit(transform.update)(all_active(), state, ctx)[0]
    assert [int(m.sum()) for m in active.values()] == [k // 2 for k in MODEL.sizes.values()]
    assert float(costs.total(active)) > 0.001


def test_churn_exchanges_units_and_keeps_the_cost():
    half, state, costs = updated(0.5, all_active())
    after, _, _ = updated(0.5, half, churn=0.3, seed=7, state=state)
    grown = sum(int((after[n] & ~half[n]).sum()) for n in half)
    assert grown > 0
    assert 0.4 < float(costs.total(after)) <= 0.5 * (1 + 1e-5)


def test_no_nan_is_chosen():
    transform = units.cost_budget(units.relative_costs(MODEL), schedule.constant(0.5), least=LEAST)
    bad = {n: jnp.full(k, jnp.nan) for n, k in MODEL.sizes.items()}
    masks = all_active()
    init = transform.init(masks, bad, KEY)[1]
    ctx = MaskContext(jnp.int32(1), bad, scores(0), KEY)
    kept = jax.jit(transform.update)(masks, init, ctx)[0]
    assert all(bool(m.all()) for m in kept.values())


def test_a_mask_update_waits_for_finite_gradients():
    rising = schedule.linear(0.3, 0.9, 0, 10)
    transform = units.cost_budget(
        units.relative_costs(MODEL), rising, least=LEAST, every_steps=5, stop=8
    )
    update = jax.jit(transform.update)
    bad = {n: jnp.full(k, jnp.nan) for n, k in MODEL.sizes.items()}
    masks, state = transform.init(all_active(), scores(0), KEY)
    counts = [sum(int(m.sum()) for m in masks.values())]
    for step in range(1, 8):
        gains = bad if step in (5, 6) else scores(1)
        masks, state = update(masks, state, MaskContext(jnp.int32(step), scores(0), gains, KEY))
        counts.append(sum(int(m.sum()) for m in masks.values()))
        assert bool(finite.pending(state)) == (step in (5, 6))
    assert len(set(counts[:7])) == 1 and counts[7] > counts[6]


def test_masks_of_smaller_arrays_cost_what_they_cost_in_the_whole():
    costs = units.relative_costs(MODEL)
    active, _, _ = updated(0.5, all_active())
    small = {n: jnp.ones(int(m.sum()), bool) for n, m in active.items()}
    assert float(costs.total(small)) == pytest.approx(float(costs.total(active)), rel=1e-5)
    assert {n: c.size for n, c in costs.marginal(small).items()} == {
        n: m.size for n, m in small.items()
    }


@pytest.mark.exhaustive
def test_latency_of_a_table():
    module = models.LeNet300(num_classes=3, widths=(6, 4))
    variables = jax.eval_shape(module.init, jax.random.key(0), IMAGES)
    model = units.cost_model(module.apply, variables, IMAGES)
    whole = {name: jnp.ones(size, bool) for name, size in model.sizes.items()}
    table = units.measure_layers(model, rounds=2)
    costs = units.relative_costs(model, "latency", table)
    assert float(costs.total(whole)) == pytest.approx(1)
    least = dict.fromkeys(model.sizes, 1)
    transform = units.cost_budget(costs, schedule.constant(0.8), least=least)
    masks, state = transform.init(whole, {}, KEY)
    value = {n: jnp.arange(1.0, m.size + 1) for n, m in whole.items()}
    ctx = MaskContext(jnp.int32(1), value, value, KEY)
    active = jax.jit(transform.update)(whole, state, ctx)[0]
    floor = float(costs.total({n: jnp.arange(m.size) < 1 for n, m in active.items()}))
    assert float(costs.total(active)) <= max(0.8, floor) * (1 + 1e-5)


@pytest.mark.slow
def test_a_block_of_no_use_goes_as_a_whole():
    module = models.ResNet(width=2)
    image = jnp.ones((1, 8, 8, 1))
    variables = jax.eval_shape(module.init, jax.random.key(0), image)
    blocks = models.removable_blocks(module)
    costs = units.relative_costs(units.cost_model(module.apply, variables, image, blocks=blocks))
    least = units.fewest_units(costs.sizes, 0.5)
    assert {name for name, count in least.items() if not count} == {f"block:{b}" for b in blocks}
    useless = "block:stage1_block0"
    masks = {name: jnp.ones(size, bool) for name, size in costs.sizes.items()}
    value = {n: jnp.full(m.size, 1e-9 if n == useless else 1.0) for n, m in masks.items()}
    saved = float(costs.marginal(masks)[useless][0])
    transform = units.cost_budget(costs, schedule.constant(1 - saved), least=least)
    _, state = transform.init(masks, value, KEY)
    ctx = MaskContext(jnp.int32(1), value, value, KEY)
    active = jax.jit(transform.update)(masks, state, ctx)[0]
    assert [name for name, mask in active.items() if not mask.all()] == [useless]
