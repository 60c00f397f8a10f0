"""Steps in calls of few programs: the same run as in one loop, without decisions on the device."""

import collections
import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gpnas.errors import UserError
from gpnas.train import _segments, train
from gpnas.train._plan import make_plan
from gpnas.train._program import _REPLICA_AXES, make_bodies, make_program
from tests import jaxprs
from tests.cases import some

METHODS = {
    "dense": {},
    "development": {"density": 0.2, "peak": 3.0, "every": 5, "window": 3, "decay": 0.9},
    "rigl": {"density": 0.2, "every": 5},
    "gmp": {"density": 0.2, "every": 4},
    "ste": {"density": 0.2, "every": 3},
    "lottery": {"rounds": 1, "rewind_at": 0.1},
    "development_units": {"density": 0.25, "every": 5, "window": 3},
    "development_cost": {"curve": ((0.0, 0.3), (0.5, 0.5), (0.8, 0.25)), "every": 5, "window": 3},
}
CHUNK, BATCH = 7, 64


@pytest.fixture(scope="module")
def plan_of(tiny, digits):
    """`(method, loop="segments") → plan` of a run of 80 steps, in chunks of 7."""

    @functools.cache
    def make(name, loop="segments"):
        config = tiny(name=name, **METHODS[name])
        config.train.loop = loop
        return make_plan(config, digits)

    return make


def state_of(plan, digits):
    program = make_program(plan, digits)
    return jax.eval_shape(lambda: program.init([jax.random.key(0)])[0])


def segment(plan, digits, kind, length):
    """The jaxpr of a program of a run."""
    state = state_of(plan, digits)
    sums = {name: jnp.float32(0) for name in plan.metrics}
    index = jnp.zeros((CHUNK, BATCH), jnp.int32)
    body = make_bodies(plan, digits)[kind]
    loop = _segments.any_length(body, length)
    train = digits.train
    return jax.make_jaxpr(loop)(state, sums, train.inputs, train.targets, index, 0, 3)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["dense", "development", "rigl", "gmp", "development_units", "development_cost"]
)
@pytest.mark.parametrize("kind", ["plain", "observing"])
def test_steps_between_mask_updates_decide_nothing(name, kind, plan_of, digits):
    plan = plan_of(name)
    decisions = {"while", "cond", "sort"}
    assert not decisions & jaxprs.primitives(segment(plan, digits, kind, 5))
    of_any_length = [
        e.primitive.name for e, _ in jaxprs.equations(segment(plan, digits, kind, None))
    ]
    assert [found for found in of_any_length if found in decisions] == ["while"]


def test_a_plain_step_does_not_look_at_statistics(plan_of, digits):
    plan = plan_of("development")
    plain, observing = (segment(plan, digits, kind, 5) for kind in ("plain", "observing"))
    fewer, more = (len(list(jaxprs.equations(jaxpr))) for jaxpr in (plain, observing))
    assert fewer < 0.95 * more


def run(plan, digits, replicas=1, spoiled=()):
    """Last states, and metrics of each chunk; of the last, some batches are an image 64 times."""
    program = make_program(plan, digits, replicas)
    state = program.place(program.init([jax.random.key(i) for i in range(replicas)]))
    rng, step, found = np.random.default_rng(0), 0, []
    while step < plan.total_steps:
        steps = min(CHUNK - step % CHUNK, plan.steps_per_epoch - step % plan.steps_per_epoch)
        index = rng.integers(0, len(digits.train), (replicas, CHUNK, BATCH)).astype(np.int32)
        index[-1, [i - step for i in spoiled if step <= i < step + steps]] = 0
        state, sums = program.run(state, index, steps, step)
        step += steps
        found.append((step, jax.device_get(sums), program.executables()))
    return program.fetch(state), found


def as_numbers(tree):
    def leaf(x):
        return jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x

    return jax.tree.map(lambda x: np.asarray(leaf(x)), tree)


@pytest.mark.slow
@pytest.mark.parametrize("name", some(METHODS, ["development", "development_units"]))
def test_segments_are_the_scan(name, plan_of, digits):
    states, metrics = run(plan_of(name, "scan"), digits)
    found, own = run(plan_of(name), digits)
    jax.tree.map(_assert_same, *map(as_numbers, (found, states)))
    for (_, sums, _), (_, expected, _) in zip(own, metrics, strict=True):
        jax.tree.map(_assert_same, sums, expected)
    programs = [count for _, _, count in own]
    assert len(set(programs)) == 1 and programs[0] <= 4  # all of them before the first step


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spoiled", "replicas", "backend"),
    some(
        [((15,), 1, "gpu"), ((20, 21, 22), 1, "cpu"), ((20,), 2, "gpu")],
        [((20,), 2, "gpu")],
    ),
)
def test_a_deferred_mask_update_is_done_at_the_next_step(
    spoiled, replicas, backend, plan_of, digits, monkeypatch
):
    """Steps 15 and 20 have mask updates; 20 is the first of an epoch, and alone in its call."""

    def bad(keys, images, labels):
        return jnp.where(jnp.all(labels == labels[0]), jnp.nan, images), labels

    runs = []
    for loop in ("scan", "segments"):
        plan = plan_of("rigl", loop)
        plan = plan._replace(tx=optax.apply_if_finite(plan.tx, 5), augment=bad)
        runs.append(run(plan, digits, replicas, spoiled)[0])
        monkeypatch.setattr(jax, "default_backend", lambda: backend)
    for expected, found in zip(*map(as_numbers, runs), strict=True):
        jax.tree.map(_assert_same, found, expected)
        assert not found.mask_state.skips.pending
        assert sum(found.counters.grown.values()) > 0
    assert [int(state.mask_state.skips.steps) for state in runs[1]] == [
        *[0] * (replicas - 1), len(spoiled),
    ]  # fmt: skip


def _assert_same(found, expected):
    """Floats differ by rounding, since the programs do; masks and counts do not."""
    if jnp.issubdtype(jnp.asarray(found).dtype, jnp.floating):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
    else:
        np.testing.assert_array_equal(found, expected)


def test_a_mask_update_waits_for_no_loop_but_its_own(plan_of, digits, monkeypatch):
    """Off the CPU each decision is a branch, of which the first does nothing; also of replicas."""
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    plan = plan_of("rigl")
    body, state = make_bodies(plan, digits)["any"], state_of(plan, digits)
    sums, index = {name: jnp.float32(0) for name in plan.metrics}, jnp.zeros((CHUNK, BATCH), int)
    args = (state, sums, digits.train.inputs, digits.train.targets, index, 0, 3)
    update = jax.make_jaxpr(_segments.up_to(body))(*args)
    assert named(update, "while") == 1 and named(update, "cond") >= 3
    plain = _segments.any_length(make_bodies(plan, digits)["plain"], 5)
    guarded = jax.make_jaxpr(_segments.unless_pending(plain))(*args)
    (decision,) = [e for e, _ in jaxprs.equations(guarded) if e.primitive.name == "cond"]
    nothing, steps = decision.params["branches"]
    assert not nothing.eqns and len(steps.eqns) > 0 and not named(guarded, "while")

    stacked = jax.eval_shape(lambda s: jax.tree.map(lambda x: jnp.stack([x, x]), s), state)
    stacked = dataclasses.replace(stacked, step=state.step)
    replicas = jax.vmap(body, (None, _REPLICA_AXES, None, None, None, None))
    many = jax.make_jaxpr(replicas)(0, stacked, *args[1:5])
    assert named(many, "cond") >= 1  # not a `select`, which would do both


def named(jaxpr, name):
    return sum(e.primitive.name == name for e, _ in jaxprs.equations(jaxpr))


def test_stretches_end_where_the_kind_does(plan_of):
    plan = plan_of("development")  # mask updates at 5, 10, …; statistics in the 3 steps before
    segments = plan.segments
    [(_, kinds)] = segments.kinds(0, 11)
    assert kinds.tolist() == [1, 0, 0, 1, 1, 2, 0, 0, 1, 1, 2]
    step, found = 0, []
    while step < 11:
        stretch = _segments.next_stretch(segments, step, 11 - step)
        found.append((stretch.kind, stretch.steps, stretch.static))
        step += stretch.steps
    assert found == [
        ("observing", 1, False), ("plain", 2, True), ("observing", 2, True), ("any", 1, False),
        ("plain", 2, True), ("observing", 2, True), ("any", 1, False),
    ]  # fmt: skip
    assert _segments.next_stretch(segments, plan.total_steps, 4) == ("any", 4, False)


@pytest.mark.parametrize(
    ("runs", "length"), [([], 0), ([100] * 9 + [21], 100), ([79, 79, 59, 20], 79), ([1, 1], 1)]
)
def test_the_length_leaves_few_steps_to_other_programs(runs, length):
    assert _segments._static_length(collections.Counter(runs)) == length


def test_a_hint_that_is_wrong_costs_nothing_but_time(plan_of, digits):
    """A transform that says nothing of its schedule may change masks at any step."""
    plan = plan_of("rigl")
    always = plan.method.transform._replace(may_change=lambda step: jnp.ones(step.shape, bool))
    method = plan.method._replace(transform=always)
    segments = _segments.plan_segments("segments", method, plan.variables["params"], 80, (20, 7))
    [(_, kinds)] = segments.kinds(0, 80)
    assert len(kinds) == 80 and (kinds == 2).all() and segments.programs == {("any", False)}


@pytest.mark.slow
@pytest.mark.parametrize("loop", ["scan", "segments"])
def test_a_state_gives_its_memory_away(loop, plan_of, digits):
    plan = plan_of("development", loop)
    program = make_program(plan, digits)
    state = program.place(program.init([jax.random.key(0)]))
    program.run(state, np.zeros((1, CHUNK, BATCH), np.int32), CHUNK, 0)
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state))


@pytest.mark.exhaustive
def test_a_whole_run(tiny, digits, tmp_path):
    records = []
    for loop in ("scan", "segments"):
        config = tiny(name="rigl", **METHODS["rigl"])
        config.train.loop = loop
        records.append(train(config, tmp_path / loop, digits))
    scan, found = records
    assert found["compilations"] == 3
    for name in ("metrics", "cost", "curve", "layers"):
        assert found[name] == scan[name], name


def test_pmap_takes_none(tiny, digits, tmp_path):
    config = tiny(name="dense")
    config.train.loop, config.train.parallel = "segments", "pmap"
    with pytest.raises(UserError, match=r"train\.loop: got 'segments'"):
        train(config, tmp_path, digits)
