"""The laws of plasticity, and the same events written out plainly in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gpnas.masks import (
    MaskContext,
    allocate,
    budget,
    init_masks,
    masked_leaves,
    plasticity,
    schedule,
    score,
    select,
    summary,
)
from tests import jaxprs

KEY = jax.random.key(0)
SHAPES = {"l0": (12, 10), "l1": (10, 8), "l2": (8, 5)}
SIZE = sum(a * b for a, b in SHAPES.values())
PARAMS = {name: jnp.zeros(shape) for name, shape in SHAPES.items()}
EVERY, STEPS = 5, 61
WAVE = schedule.developmental(0.1, 5.0, 20, 50)


def stream(step):
    """Random weights and gradients of a step."""
    rng = np.random.default_rng(step)
    return tuple({n: np.float32(rng.normal(size=s)) for n, s in SHAPES.items()} for _ in "wg")


def context(step):
    return MaskContext(jnp.int32(step), *stream(step), jax.random.fold_in(KEY, step))


def develop(transform, steps=STEPS):
    """The masks before step 0 and after every step, as NumPy, and the states."""
    masks, state = jax.jit(transform.init)(init_masks(PARAMS), PARAMS, KEY)
    update = jax.jit(transform.update)
    history, states = [jax.tree.map(np.asarray, masks)], [state]
    for step in range(steps):
        masks, state = update(masks, state, context(step))
        history.append(jax.tree.map(np.asarray, masks))
        states.append(state)
    return history, states


def of(masks):
    """All the leaves in one."""
    return np.concatenate([masks[name].ravel() for name in SHAPES])


def rule(**changes):
    """A plasticity by |w| and |g| with these settings."""
    settings = {
        "drop": score.magnitude(),
        "grow": score.gradient(),
        "density": schedule.constant(0.3),
        "churn": schedule.constant(0.4),
        "allocation": allocate.global_(),
        "every": EVERY,
    }
    return plasticity(**(settings | changes))


def best(values, k, where):
    """The k highest of the allowed."""
    order = np.argsort(np.where(where, -values, np.inf), kind="stable")
    chosen = np.zeros(values.shape, bool)
    chosen[order[:k]] = True
    return chosen & where


def plain_event(live, worth, gain, target, churn, regrow):
    """One event of one group, in NumPy."""
    delta = target - live.sum()
    wanted = int(np.round(np.float32(churn) * np.float32(live.sum())))
    room = (~live).sum() + (live.sum() if regrow else 0) - max(delta, 0)
    spare = live.sum() - max(-delta, 0)
    swaps = max(min(max(wanted - abs(delta), 0) // 2, room, spare), 0)
    prune, grow = max(-delta, 0) + swaps, max(delta, 0) + swaps
    gone = best(-worth, prune, live)
    come = best(gain, grow, ~live | gone if regrow else ~live)
    return (live & ~gone) | come


CASES = {
    "still": {"churn": schedule.constant(0.0)},
    "churning": {},
    "all of them": {"churn": schedule.constant(2.0)},
    "dense": {"density": schedule.constant(0.9)},
    "wave": {"density": WAVE, "lookahead": EVERY},
    "elsewhere": {"regrow": False},
    "all of them elsewhere": {"churn": schedule.constant(2.0), "regrow": False},
    "wave elsewhere": {"density": WAVE, "lookahead": EVERY, "regrow": False},
}


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_events_are_those_of_numpy(case):
    settings = CASES[case]
    density = settings.get("density", schedule.constant(0.3))
    churn = settings.get("churn", schedule.constant(0.4))
    history, _ = develop(rule(**settings))
    live = of(history[0])
    for step in range(STEPS):
        if step and step % EVERY == 0:
            weights, grads = (np.abs(of(x)) for x in stream(step))
            target = round(float(density(step + settings.get("lookahead", 0))) * SIZE)
            regrow = settings.get("regrow", True)
            live = plain_event(live, weights, grads, target, float(churn(step)), regrow)
            assert live.sum() == target
        np.testing.assert_array_equal(of(history[step + 1]), live, err_msg=f"{case} {step}")


@pytest.mark.slow
@pytest.mark.parametrize("allocation", [allocate.erk(), allocate.uniform(), allocate.global_()])
@pytest.mark.parametrize("churn", [0.0, 0.3])
def test_the_identity(allocation, churn):
    """grown − pruned = Δ and grown + pruned = max(|Δ|, ρ·living), and the target is met exactly."""
    settings = {"allocation": allocation, "churn": schedule.constant(churn), "regrow": False}
    history, _ = develop(rule(density=WAVE, lookahead=EVERY, **settings))
    targets_at = jax.jit(lambda step: allocation(SHAPES, WAVE(step)))
    for step in range(STEPS):
        before, after = history[step], history[step + 1]
        if step == 0 or step % EVERY:
            assert (of(before) == of(after)).all()
            continue
        targets = targets_at(jnp.int32(step + EVERY))
        for group, target in targets.items():
            was = np.concatenate([before[p].ravel() for p in group])
            now = np.concatenate([after[p].ravel() for p in group])
            grown, pruned = (now & ~was).sum(), (was & ~now).sum()
            delta = int(target) - was.sum()
            assert now.sum() == int(target)
            assert grown - pruned == delta
            exchange = max(abs(delta), int(np.round(np.float32(churn) * np.float32(was.sum()))))
            assert grown + pruned == exchange - (exchange - abs(delta)) % 2


@pytest.mark.slow
@pytest.mark.parametrize("churn", [0.0, 0.3])
def test_a_budget_in_total_cost_is_met_within_one_weight(churn):
    costs = {"l0": 7, "l1": 1, "l2": 3}
    each = np.repeat([*costs.values()], [a * b for a, b in SHAPES.values()])
    allocation = allocate.by_total_cost(costs)
    settings = {"allocation": allocation, "churn": schedule.constant(churn)}
    history, _ = develop(rule(density=WAVE, **settings))
    for step in range(EVERY, STEPS, EVERY):
        spent = each[of(history[step + 1])].sum()
        (target,) = allocation(SHAPES, WAVE(jnp.int32(step))).values()
        assert int(target) - 7 < spent <= int(target)
    # The weights of highest score per cost remain.
    pruning = rule(
        density=schedule.cubic(0.8, 0.1, 0, 50), **settings | {"churn": lambda step: 0.0}
    )
    history, _ = develop(pruning)
    before, after = of(history[50]), of(history[51])
    value = np.abs(of(stream(50)[0])) / each
    assert not (after & ~before).any()
    assert value[before & ~after].max() < value[after].min()


@pytest.mark.slow
def test_pruning_alone_nests():
    falling = schedule.cubic(0.8, 0.1, 0, 50)
    history, _ = develop(rule(density=falling, churn=schedule.constant(0.0)))
    for before, after in zip(history, history[1:], strict=False):
        assert not (of(after) & ~of(before)).any()
    assert of(history[-1]).sum() == round(0.1 * SIZE)


@pytest.mark.slow
def test_the_same_density_without_churn_changes_nothing():
    history, _ = develop(rule(churn=schedule.constant(0.0), every=1), 8)
    assert all((of(m) == of(history[0])).all() for m in history)


@pytest.mark.slow
def test_leaves_of_their_own_keep_their_densities():
    history, _ = develop(rule(allocation=allocate.erk()))
    targets = allocate.erk()(SHAPES, jnp.float32(0.3))
    for masks in history:
        assert {(p,): int(m.sum()) for p, m in masks.items()} == {
            group: int(k) for group, k in targets.items()
        }


@pytest.mark.slow
def test_the_start_is_random_and_respects_masks_that_are_given():
    transform = rule(allocation=allocate.erk(), seed_allocation=allocate.uniform())
    masks = {**init_masks(PARAMS), "l0": jnp.zeros((12, 10), bool).at[:5].set(True)}
    one, _ = transform.init(masks, PARAMS, KEY)
    other, _ = transform.init(masks, PARAMS, jax.random.key(1))
    assert int(one["l0"].sum()) == 36 and not one["l0"][5:].any()
    assert (one["l1"] != other["l1"]).any()
    assert {n: int(m.sum()) for n, m in one.items()} == {"l0": 36, "l1": 24, "l2": 12}
    by_size, _ = rule(seed_score=score.magnitude()).init(init_masks(PARAMS), context(0).params, KEY)
    weights = np.abs(of(stream(0)[0]))
    np.testing.assert_array_equal(of(by_size), best(weights, 72, np.ones(SIZE, bool)))


@pytest.mark.parametrize("made", [score.gradient, score.taylor, score.momentum])
def test_initial_masks_cannot_depend_on_gradients(made):
    with pytest.raises(ValueError, match=f"seed_score: got {made().name}, allowed: a score that"):
        rule(seed_score=made()).init(init_masks(PARAMS), context(0).params, KEY)


@pytest.mark.slow
def test_events_begin_and_end_where_they_should():
    history, _ = develop(rule(start=10, stop=25))
    changed = [s for s in range(STEPS) if (of(history[s]) != of(history[s + 1])).any()]
    assert changed == [10, 15, 20]
    changed = develop(rule(start=0))[0]
    assert (of(changed[0]) != of(changed[1])).any()


@pytest.mark.slow
def test_a_window_looks_only_before_events():
    average = score.momentum(0.5)
    _, states = develop(rule(grow=average, window=2))
    expected = {name: np.zeros(shape) for name, shape in SHAPES.items()}
    for step in range(STEPS):
        if -step % EVERY < 2:
            grads = stream(step)[1]
            expected = {n: 0.5 * expected[n] + 0.5 * grads[n] for n in SHAPES}
        kept = states[step + 1].statistics["gradient@0.5"]
        for name in SHAPES:
            np.testing.assert_allclose(kept[name], expected[name], rtol=1e-5, atol=1e-7)
    assert float(states[-1].statistics["observations"]) == 1 + 2 * (STEPS // EVERY)


@pytest.mark.slow
def test_nan_scores_are_counted_and_never_win():
    def value(kept, ctx):
        return {p: jnp.abs(g).at[3:].set(jnp.nan) if p == "l0" else g for p, g in ctx.grads.items()}

    transform = rule(every=1, grow=score.Score("broken", {}, value))
    masks, state = transform.init(init_masks(PARAMS), PARAMS, KEY)
    after, state = jax.jit(transform.update)(masks, state, context(1))
    assert int(state.nan_scores) == 9 * 10
    assert not (np.asarray(after["l0"])[3:] & ~np.asarray(masks["l0"])[3:]).any()
    assert float(summary.density(after)) == pytest.approx(0.3)


@pytest.mark.slow
def test_blocks_are_grown_and_pruned_whole():
    shapes = {"l0": (12, 10), "l1": (10, 8)}
    params = {n: jnp.zeros(s) for n, s in shapes.items()}
    transform = rule(select=select.blocks((2, 2)), every=1)
    masks, state = transform.init(init_masks(params), params, KEY)
    update = jax.jit(transform.update)
    for step in range(1, 4):
        params, grads = ({n: x[n] for n in shapes} for x in stream(step))
        masks, state = update(masks, state, MaskContext(jnp.int32(step), params, grads, KEY))
        for mask in masks.values():
            tiles = np.asarray(mask).reshape(mask.shape[0] // 2, 2, -1, 2)
            assert (tiles.all((1, 3)) == tiles.any((1, 3))).all()
        assert abs(sum(int(m.sum()) for m in masks.values()) - 60) <= 4


def offer(live, target, growable=1000):
    return budget.Candidates(*map(jnp.int32, (0, live, target, growable)))


@pytest.mark.parametrize("on_top", [False, True])
def test_counts_by_the_curve(on_top):
    for live, target, rho in [(100, 100, 0.5), (200, 100, 0.5), (100, 130, 0.5), (100, 180, 0.5)]:
        grow, prune = budget.track_density(schedule.constant(rho), on_top)(offer(live, target))
        delta = target - live
        exchange = abs(delta) + rho * min(live, target) if on_top else max(abs(delta), rho * live)
        assert (int(grow), int(prune)) == ((exchange + delta) // 2, (exchange - delta) // 2)


def test_counts_stay_within_what_is_there():
    counts = budget.track_density(schedule.constant(2.0))
    assert tuple(map(int, counts(offer(100, 90, growable=15)))) == (15, 25)
    assert tuple(map(int, counts(offer(100, 90)))) == (90, 100)
    assert tuple(map(int, counts(offer(100, 110, growable=10)))) == (10, 0)


def test_bad_settings_are_refused():
    by_cost = allocate.by_total_cost({"l0": 2.0})
    with pytest.raises(ValueError, match="select: got n_of_m"):
        rule(allocation=by_cost, select=select.n_of_m(2, 4)).init(init_masks(PARAMS), PARAMS, KEY)
    with pytest.raises(ValueError, match="^churn: got a schedule and a budget"):
        rule(churn=schedule.constant(0.1), budget=budget.track_density(schedule.constant(0.2)))
    for window in (0, -3):  # statistics would never change
        with pytest.raises(ValueError, match=f"^window: got {window}, allowed: 1 or more steps"):
            rule(grow=score.momentum(), window=window)


@pytest.mark.slow
def test_one_trace_serves_the_whole_schedule():
    traces = []
    transform = rule(density=WAVE, regrow=False, grow=score.growth_gain())

    @jax.jit
    def update(masks, state, ctx):
        traces.append(1)
        return transform.update(masks, state, ctx)

    masks, state = jax.jit(transform.init)(init_masks(PARAMS), PARAMS, KEY)
    for step in range(25):
        masks, state = update(masks, state, context(step))
    assert len(traces) == 1
    assert list(masked_leaves(masks)) == list(SHAPES)


@pytest.mark.slow
@pytest.mark.parametrize("allocation", [allocate.global_(), allocate.erk()])
def test_ten_layers_and_more_of_one_name(allocation):
    params = {f"Dense_{i}": jnp.ones((4, 3)) for i in range(12)}
    transform = plasticity(
        drop=score.magnitude(),
        grow=score.gradient(),
        density=schedule.constant(0.5),
        churn=schedule.constant(0.3),
        allocation=allocation,
        every=1,
    )
    masks, state = jax.jit(transform.init)(init_masks(params), params, KEY)
    ctx = MaskContext(jnp.int32(1), params, params, KEY)
    new, _ = jax.jit(transform.update)(masks, state, ctx)
    changed, active = (
        sum(int(m.sum()) for m in f)
        for f in (jax.tree.leaves(jax.tree.map(jnp.not_equal, masks, new)), jax.tree.leaves(new))
    )
    assert changed > 0 and active == 72


def test_an_update_of_competing_leaves_reads_the_scores_in_two_searches(monkeypatch):
    """One for weights to prune, one for weights to grow; each reads all leaves eight times."""
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    rule = plasticity(
        drop=score.magnitude(), grow=score.gradient(), density=schedule.constant(0.1),
        churn=schedule.constant(0.3), allocation=allocate.global_(), every=EVERY,
    )  # fmt: skip
    # Shapes of no other test: what was traced for a CPU is cached.
    params = {"a": jnp.ones((17, 9)), "b": jnp.ones((9, 19))}
    masks, state = rule.init(init_masks(params), params, KEY)
    ctx = MaskContext(jnp.int32(EVERY), params, params, KEY)
    jaxpr = jax.make_jaxpr(rule.update)(masks, state, ctx)
    assert not {"while", "sort", "top_k"} & jaxprs.primitives(jaxpr)
    reads = jaxprs.reductions(jaxpr, params["a"].size) / len(params)
    ties, sums = 2 * 8, 5  # a second search each, in a branch; numbers of active weights
    assert reads - ties - sums == 2 * 8


@pytest.mark.parametrize(
    "value",
    [
        lambda s, c: {p: jnp.abs(g).sum(0) for p, g in c.grads.items()},  # would be broadcast
        lambda s, c: {"x": jnp.ones(3)},
        lambda s, c: jax.tree.leaves(c.grads)[0],
    ],
    ids=["shape", "path", "no dict"],
)
def test_scores_are_those_of_the_weights(value):
    params = {"a": {"kernel": jnp.ones((3, 4))}}
    rule = plasticity(
        drop=score.magnitude(), grow=score.Score("own", {}, value), density=schedule.constant(0.5)
    )
    masks, state = rule.init(init_masks(params), params, jax.random.key(0))
    with pytest.raises(
        ValueError, match=r"score own: got shapes .*, allowed: .*a/kernel.*\(3, 4\)"
    ):
        rule.update(masks, state, MaskContext(jnp.int32(100), params, params, jax.random.key(0)))


@pytest.mark.parametrize("field", ["drop", "grow", "seed_score"])
@pytest.mark.parametrize("wrong", [score.gradient, "gradient"])
def test_a_score_has_been_made(field, wrong):
    settings = {"drop": score.magnitude(), "grow": score.magnitude()} | {field: wrong}
    with pytest.raises(ValueError, match=f"{field}: got .*gradient.*, allowed: a score, such as"):
        plasticity(density=schedule.constant(0.5), **settings)
