"""The methods of the literature, written out plainly in NumPy, choose the same weights."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gpnas.masks import MaskContext, allocate, init_masks, masked_leaves, schedule
from gpnas.methods import METHODS
from gpnas.units import discover

SHAPES = {"Dense_0": (14, 12), "Dense_1": (12, 5)}
SIZES = {name: math.prod(shape) for name, shape in SHAPES.items()}
SIZE = sum(SIZES.values())
PARAMS = {name: jnp.zeros(shape) for name, shape in SHAPES.items()}
STEPS, EVERY = 80, 6
KEY = jax.random.key(7)


def stream(step):
    """Weights and gradients of a step, all distinct."""
    rng = np.random.default_rng(100 + step)
    return tuple({n: np.float32(rng.normal(size=s)) for n, s in SHAPES.items()} for _ in "wg")


def develop(method, steps=STEPS):
    """`{leaf: bool}` at the start and after every step; and the states."""
    params = stream(10**6)[0]
    masks, state = jax.jit(method.transform.init)(init_masks(PARAMS), params, KEY)
    update = jax.jit(method.transform.update)
    history, states = [masks], [state]
    for step in range(steps):
        ctx = MaskContext(jnp.int32(step), *stream(step), jax.random.fold_in(KEY, step))
        masks, state = update(masks, state, ctx)
        history.append(masks)
        states.append(state)
    return [jax.tree.map(np.asarray, m) for m in history], states


def density(masks):
    return sum(int(m.sum()) for m in masks.values()) / SIZE


def lowest(values, k, among):
    """Places of the k lowest values among some."""
    flat = np.where(among.ravel(), values.ravel(), np.inf)
    chosen = np.zeros(flat.shape, bool)
    chosen[np.argsort(flat)[:k]] = True
    return chosen.reshape(values.shape)


def cosine(step, stop):
    return 0.5 * (1 + math.cos(math.pi * min(step / stop, 1)))


def shares(allocation, d):
    """Weights that each leaf may keep."""
    return {group[0]: int(k) for group, k in allocation(SHAPES, jnp.float32(d)).items()}


@pytest.mark.slow
@pytest.mark.parametrize("d", [0.2, 0.6, 0.9])
def test_rigl(d):
    """Algorithm 1: in each leaf drop the smallest |w|, then grow by |g|, among the dropped too."""
    method = METHODS["rigl"](density=d, total_steps=STEPS, fraction=0.4, every=EVERY)
    history, _ = develop(method)
    stop, changed = 60, 0
    for step in range(STEPS):
        for name, mask in history[step].items():
            expected = mask
            if step and step % EVERY == 0 and step < stop:
                weights, grads = (abs(x[name]) for x in stream(step))
                k = round(2 * 0.4 * cosine(step, stop) * mask.sum()) // 2
                kept = mask & ~lowest(weights, k, mask)
                expected = kept | lowest(-grads, k, ~kept)
            changed += (expected != mask).any()
            np.testing.assert_array_equal(history[step + 1][name], expected, f"{step} {name}")
    assert changed > 5


@pytest.mark.slow
def test_set():
    """Algorithm 2: the smallest |w| of each leaf go, and as many come anywhere else."""
    method = METHODS["set"](density=0.25, fraction=0.3, every=EVERY)
    history, _ = develop(method)
    places = []
    for step in range(STEPS):
        for name, mask in history[step].items():
            after = history[step + 1][name]
            if step == 0 or step % EVERY:
                assert (after == mask).all()
                continue
            k = round(2 * 0.3 * mask.sum()) // 2
            kept = mask & ~lowest(abs(stream(step)[0][name]), k, mask)
            assert (after & kept == kept).all() and after.sum() == mask.sum()
            assert not (after & ~kept & kept).any()
            if name == "Dense_0":
                places.extend(np.flatnonzero(after & ~kept))
    assert len(set(places)) > 0.4 * SIZES["Dense_0"]  # all over the place


@pytest.mark.slow
@pytest.mark.parametrize(
    "allocation", [allocate.global_(), allocate.uniform()], ids=["global", "uniform"]
)
def test_gmp(allocation):
    """Zhu & Gupta: the smallest |w| go, until the cubic density is met."""
    method = METHODS["gmp"](density=0.1, total_steps=STEPS, every=EVERY, allocation=allocation)
    history, _ = develop(method)
    stop = 60
    for step in range(STEPS):
        if step % EVERY:
            assert all((history[step + 1][n] == m).all() for n, m in history[step].items())
            continue
        target = 0.1 + 0.9 * (1 - min(step / stop, 1)) ** 3
        before, after = history[step], history[step + 1]
        weights = {n: np.where(before[n], abs(w), 0) for n, w in stream(step)[0].items()}
        if len(allocation(SHAPES, jnp.float32(1))) == 1:
            cut = sorted(np.concatenate([w.ravel() for w in weights.values()]))[
                -round(target * SIZE)
            ]
            cuts = dict.fromkeys(SHAPES, cut)
        else:
            cuts = {
                n: np.sort(w.ravel())[-k]
                for (n, w), k in zip(
                    weights.items(), shares(allocation, target).values(), strict=True
                )
            }
        for name, w in weights.items():
            np.testing.assert_array_equal(after[name], before[name] & (w >= cuts[name]))


@pytest.mark.slow
@pytest.mark.parametrize(("first", "final"), [(0.5, 0.1), (0.9, 0.3)])
def test_granet(first, final):
    """Prune to the cubic density by |w|, then exchange p of what is left: out by |w|, in by |g|."""
    settings = {"density": final, "first": first, "fraction": 0.45}
    method = METHODS["granet"](total_steps=STEPS, every=EVERY, **settings)
    history, _ = develop(method)
    stop, erdos = 60, allocate.erk()
    assert density(history[0]) == round(first * SIZE) / SIZE
    for step in range(STEPS):
        target = final + (first - final) * (1 - min(step / stop, 1)) ** 3
        for name, mask in history[step].items():
            expected = mask
            if step and step % EVERY == 0:
                weights, grads = (abs(x[name]) for x in stream(step))
                left = shares(erdos, target)[name]
                pruned = mask & ~lowest(weights, mask.sum() - left, mask)
                k = round(2 * 0.45 * cosine(step, stop) * left) // 2
                kept = pruned & ~lowest(weights, k, pruned)
                expected = kept | lowest(-grads, k, ~kept)
            np.testing.assert_array_equal(history[step + 1][name], expected, f"{step} {name}")
    assert density(history[-1]) == round(final * SIZE) / SIZE


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gmp", "granet"])
@pytest.mark.parametrize("every", [6, 7, 30])
def test_the_final_density_is_met_wherever_the_curve_stops(name, every):
    """Also with stop_at = 1, and where events fall beside the end of the curve."""
    for stop_at in (1.0, 0.75):
        method = METHODS[name](density=0.1, total_steps=STEPS, every=every, stop_at=stop_at)
        last = (min(round(stop_at * STEPS), STEPS - 1)) // every * every
        assert float(method.forecast.density(jnp.int32(last))) == pytest.approx(0.1)
    assert density(develop(method)[0][-1]) == round(0.1 * SIZE) / SIZE


@pytest.mark.slow
def test_snfs():
    """The smallest |w| go; leaves with the larger mean momentum of living weights get more."""
    method = METHODS["snfs"](density=0.3, total_steps=STEPS, every=EVERY, decay=0.9)
    history, _ = develop(method)
    momentum = {n: np.zeros(s) for n, s in SHAPES.items()}
    for step in range(STEPS):
        weights, grads = stream(step)
        momentum = {n: 0.9 * momentum[n] + 0.1 * grads[n] for n in SHAPES}
        before, after = history[step], history[step + 1]
        assert density(after) == round(0.3 * SIZE) / SIZE
        if step == 0 or step % EVERY:
            continue
        pull = {n: abs(m) for n, m in momentum.items()}
        share = {n: pull[n][before[n]].mean() for n in SHAPES}
        out = {n: round(0.5 * cosine(step, STEPS) * before[n].sum()) for n in SHAPES}
        kept = {n: before[n] & ~lowest(abs(weights[n]), out[n], before[n]) for n in SHAPES}
        come = {n: int(after[n].sum() - kept[n].sum()) for n in SHAPES}
        for name in SHAPES:
            expected = kept[name] | lowest(-pull[name], come[name], ~kept[name])
            np.testing.assert_array_equal(after[name], expected)
        if all(come[n] < (~kept[n]).sum() for n in SHAPES):  # no leaf is full
            for name in SHAPES:
                wanted = sum(out.values()) * share[name] / sum(share.values())
                assert abs(come[name] - wanted) <= 1


@pytest.mark.slow
def test_snfs_loses_no_weight_when_gradients_vanish_or_break():
    method = METHODS["snfs"](density=0.3, total_steps=STEPS, every=1)
    update = jax.jit(method.transform.update)
    for value in (0.0, jnp.nan):
        masks, state = method.transform.init(init_masks(PARAMS), PARAMS, KEY)
        grads = {n: jnp.full(s, value if n != "Dense_1" else 1.0) for n, s in SHAPES.items()}
        for step in range(1, 6):
            ctx = MaskContext(jnp.int32(step), stream(step)[0], grads, KEY)
            masks, state = update(masks, state, ctx)
        assert density(masks) == round(0.3 * SIZE) / SIZE


def test_snip():
    method = METHODS["snip"](density=0.1)
    history, _ = develop(method, 8)
    weights, grads = stream(0)
    scores = {n: abs(weights[n] * grads[n]) for n in SHAPES}
    cut = np.sort(np.concatenate([s.ravel() for s in scores.values()]))[-round(0.1 * SIZE)]
    assert density(history[0]) == 1
    for masks in history[1:]:
        for name, mask in masks.items():
            np.testing.assert_array_equal(mask, scores[name] >= cut)


@pytest.mark.slow
@pytest.mark.parametrize("at", [0.0, 0.5, 1.0])
def test_one_shot(at):
    history, _ = develop(METHODS["one_shot"](density=0.2, total_steps=STEPS, at=at))
    cut = min(round(at * STEPS), STEPS - 1)
    densities = [density(m) for m in history[1:]]
    assert densities == [1.0] * cut + [round(0.2 * SIZE) / SIZE] * (STEPS - cut)


@pytest.mark.slow
def test_iterative_rounds():
    method = METHODS["iterative"](density=0.1, total_steps=STEPS, rounds=4)
    history, _ = develop(method)
    cuts = [s for s in range(STEPS) if density(history[s]) != density(history[s + 1])]
    assert cuts == [8, 26, 43, 60]  # from 0.1 to 0.75 of the run
    for i, cut in enumerate(cuts, 1):
        assert density(history[cut + 1]) == round(0.1 ** (i / 4) * SIZE) / SIZE
    for before, after in zip(history, history[1:], strict=False):
        assert not any((after[n] & ~before[n]).any() for n in SHAPES)


@pytest.mark.slow
@pytest.mark.parametrize(("rounds", "start_at", "stop_at"), [(1, 0.5, 0.5), (3, 0, 1), (90, 0, 1)])
def test_iterative_at_its_limits(rounds, start_at, stop_at):
    """One round; from the first step to the last; more rounds than steps."""
    method = METHODS["iterative"](
        density=0.1, total_steps=STEPS, rounds=rounds, start_at=start_at, stop_at=stop_at
    )
    history, _ = develop(method)
    assert density(history[-1]) == round(0.1 * SIZE) / SIZE
    if start_at == 0:  # the first cut is by size, not by lot
        kept = np.concatenate([history[0][n].ravel() for n in SHAPES])
        weights = np.abs(np.concatenate([stream(10**6)[0][n].ravel() for n in SHAPES]))
        assert weights[kept].min() > weights[~kept].max()


@pytest.mark.slow
def test_acdc_phases():
    method = METHODS["acdc"](density=0.2, total_steps=STEPS, phases=3)
    history, _ = develop(method)
    sparse = [density(m) < 1 for m in history[1:]]
    length = (60 - 8) // 6
    expected = [False] * 8 + ([True] * length + [False] * length) * 3
    assert sparse == expected + [True] * (STEPS - len(expected))
    before = [s for s in range(STEPS) if sparse[s] and (s == 0 or not sparse[s - 1])]
    for step in before:  # the largest of all are kept, anew each time
        weights = np.concatenate([abs(w).ravel() for w in stream(step)[0].values()])
        kept = np.concatenate([m.ravel() for m in history[step + 1].values()])
        assert kept.sum() == round(0.2 * SIZE) and weights[kept].min() > weights[~kept].max()
    may = [bool(method.transform.may_change(jnp.int32(s))) for s in range(STEPS)]
    assert sum(may) == 7  # at the other steps nothing is even looked at


@pytest.mark.slow
def test_ste_uses_the_largest():
    method = METHODS["ste"](density=0.3)
    history, _ = develop(method, 6)
    for step in range(6):
        for name, mask in history[step + 1].items():
            weights = abs(stream(step)[0][name])
            assert mask.sum() == shares(allocate.uniform(), 0.3)[name]
            assert weights[mask].min() > weights[~mask].max()


@pytest.mark.slow
def test_topkast_trains_more_than_it_uses():
    method = METHODS["topkast"](density=0.2, extra=0.3, every=EVERY)
    history, states = develop(method, 20)
    used, trained = shares(allocate.uniform(), 0.2), shares(allocate.uniform(), 0.5)
    for masks, state in zip(history[1:], states[1:], strict=True):
        learns = masked_leaves(method.updated(masks, state))
        for name, mask in masks.items():
            assert mask.sum() == used[name]
            assert learns[name].sum() == trained[name]
            assert not (mask & ~np.asarray(learns[name])).any()
    assert float(method.forecast.dense_gradient(jnp.int32(0))) == pytest.approx(0.3 / 0.8)


DURATIONS = {"every": 5, "window": 3}


@pytest.mark.slow
def test_development_follows_its_curve_and_ends_on_it():
    method = METHODS["development"](
        density=0.1, total_steps=STEPS, batch_size=8, peak=5.0, peak_at=0.25, **DURATIONS
    )
    history, _ = develop(method)
    assert density(history[0]) == round(0.1 * SIZE) / SIZE
    curve = schedule.developmental(0.1, 5.0, STEPS // 4, round(0.75 * STEPS))
    for step in range(5, STEPS, 5):  # after an event: where the curve is at the next
        aim = float(curve(jnp.int32(step + 5)))
        assert density(history[step + 1]) == round(aim * SIZE) / SIZE
    assert max(map(density, history)) == pytest.approx(0.5, abs=2e-3)
    assert density(history[60]) == density(history[-1]) == round(0.1 * SIZE) / SIZE


@pytest.mark.slow
@pytest.mark.parametrize("stop_at", [0.5, 1.0])
def test_development_ends_at_its_density(stop_at):
    method = METHODS["development"](
        density=0.1, total_steps=STEPS, batch_size=8, peak=4.0, stop_at=stop_at, **DURATIONS
    )
    history, _ = develop(method)
    assert density(history[-1]) == round(0.1 * SIZE) / SIZE
    assert max(map(density, history)) > 0.2


@pytest.mark.slow
def test_pipeline_never_grows_and_prunes_at_once():
    method = METHODS["pipeline"](
        density=0.1, total_steps=STEPS, batch_size=8, peak=5.0, peak_at=0.5, stop_at=0.9, every=5
    )
    history, _ = develop(method)
    grown, pruned = [], []
    for step in range(STEPS):
        before, after = history[step], history[step + 1]
        grown.append(sum((after[n] & ~before[n]).sum() for n in SHAPES))
        pruned.append(sum((before[n] & ~after[n]).sum() for n in SHAPES))
    assert not any(g and p for g, p in zip(grown, pruned, strict=True))
    assert sum(grown[:40]) == sum(grown) == sum(pruned) == sum(pruned[40:]) > 0


@pytest.mark.slow
def test_static_units_are_those_of_the_weights_given():
    params = {"a": {"kernel": jnp.ones((4, 3))}, "b": {"kernel": jnp.ones((3, 2))}}
    params["b"]["kernel"] = params["b"]["kernel"].at[1].set(0)

    def network(variables, x):
        hidden = jax.nn.relu(x @ variables["params"]["a"]["kernel"])
        return hidden @ variables["params"]["b"]["kernel"]

    groups = discover(network, {"params": params}, jnp.ones((2, 4)))
    method = METHODS["static_units"](groups=groups, params=params)
    masks, state = method.transform.init(init_masks(params), params, KEY)
    (active,) = state.units.values()
    assert active.tolist() == [True, False, True]
    assert not method.transform.may_change(jnp.int32(7))
    learning, nonzero = method.updated(masks, state), method.nonzero(masks, state)
    assert learning["a"]["kernel"].tolist() == [[True, False, True]] * 4
    assert nonzero["a"]["kernel"].all()
    assert nonzero["b"]["kernel"].tolist() == [[True] * 2, [False] * 2, [True] * 2]
    ctx = MaskContext(jnp.int32(7), params, params, KEY)
    (after,) = method.transform.update(masks, state, ctx)[1].units.values()
    assert after.tolist() == active.tolist()


def test_static_and_dense_never_change():
    for method, d in ((METHODS["static"](density=0.2), 0.2), (METHODS["dense"](), 1.0)):
        history, _ = develop(method, 12)
        for masks in history:
            assert density(masks) == round(d * SIZE) / SIZE
            assert all((m == history[0][n]).all() for n, m in masks.items())
