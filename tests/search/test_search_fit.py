"""Programs that train candidates, against loops written out with Optax."""

import gc

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gpnas.data import standardize
from gpnas.search._fit import SGD, Job, make_programs
from tests import jaxprs

RULE = SGD(learning_rate=0.1, momentum=0.9, weight_decay=0.01)
BATCH = 16


class Net(nn.Module):
    """Two layers with batch norm between them; counts how often it is traced."""

    width: int = 8

    @nn.compact
    def __call__(self, images, train=False):
        TRACES.append(train)
        x = nn.Dense(self.width)(images.reshape(images.shape[0], -1))
        x = nn.relu(nn.BatchNorm(use_running_average=not train, momentum=0.9)(x))
        return nn.Dense(10)(x)


TRACES: list[bool] = []


@pytest.fixture(scope="module")
def programs(digits):
    return make_programs(digits, RULE)


def job(programs, digits, seed, steps, distilled=0, frozen=()):
    rng = np.random.default_rng(seed)
    variables = programs.begin(Net(), jax.random.key(seed))
    free = {
        name: jax.tree.map(lambda _, own=name: jnp.asarray(own not in frozen), tree)
        for name, tree in variables["params"].items()
    }
    rows = rng.integers(0, len(digits.train), (steps, BATCH)).astype(np.int32)
    targets = rng.dirichlet(np.ones(10), (distilled, BATCH)).astype(np.float32)
    return Job(variables, free, rows, targets)


def by_hand(digits, one):
    """The same with Optax's own SGD, step by step."""
    steps = len(one.rows)
    tx = optax.sgd(optax.cosine_decay_schedule(RULE.learning_rate, steps), RULE.momentum)
    params, stats = one.variables["params"], one.variables["batch_stats"]
    state = tx.init(params)

    @jax.jit
    def gradient(p, stats, images, target):
        def loss(p):
            out, new = Net().apply(
                {"params": p, "batch_stats": stats}, images, train=True, mutable=["batch_stats"]
            )
            return -(jax.nn.log_softmax(out) * target).sum(-1).mean(), new["batch_stats"]

        return jax.grad(loss, has_aux=True)(p)

    for i, rows in enumerate(one.rows):
        images = standardize(jnp.asarray(digits.train.inputs[rows]), digits)
        hard = jax.nn.one_hot(digits.train.targets[rows], 10)
        distils = i < len(one.targets)
        grads, stats = gradient(params, stats, images, one.targets[i] if distils else hard)
        grads = jax.tree.map(
            lambda g, p: g + RULE.weight_decay * p if p.ndim > 1 else g, grads, params
        )
        if distils:
            grads = jax.tree.map(lambda g, own: g * own, grads, one.free)
        moves, state = tx.update(grads, state)
        params = optax.apply_updates(params, moves)
    return {"params": params, "batch_stats": stats}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("steps", "distilled", "frozen"), [(3, 0, ()), (53, 0, ()), (5, 3, ("Dense_0",))]
)
def test_it_is_sgd_with_momentum_decay_and_a_cosine(programs, digits, steps, distilled, frozen):
    one = job(programs, digits, 0, steps, distilled, frozen)
    (found,) = programs.train(Net(), [one])
    for a, b in zip(*map(jax.tree.leaves, (found, by_hand(digits, one))), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-4)


def test_what_is_not_free_stays_while_it_distils(programs, digits):
    one = job(programs, digits, 1, 4, 4, ("Dense_0", "BatchNorm_0"))
    (found,) = programs.train(Net(), [one])
    for name, before in one.variables["params"].items():
        moved = not np.array_equal(before["bias"], found["params"][name]["bias"])
        assert moved == (name == "Dense_1")


@pytest.mark.slow
def test_together_they_learn_what_each_learns_alone(programs, digits):
    jobs = [job(programs, digits, seed, 6, 2 * seed) for seed in range(3)]
    together = programs.train(Net(), jobs)
    for one, own in zip(jobs, together, strict=True):
        (alone,) = programs.train(Net(), [one])
        for a, b in zip(*map(jax.tree.leaves, (alone, own)), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)


def test_nothing_to_learn(programs, digits):
    one = job(programs, digits, 0, 0)
    (found,) = programs.train(Net(), [one])
    chex.assert_trees_all_equal(found, one.variables)


def test_a_module_is_traced_once_for_any_number_of_steps(programs, digits):
    jobs = [job(programs, digits, seed, steps) for seed, steps in ((0, 2), (1, 7), (2, 60))]
    programs.train(Net(), jobs[:1])
    before = len(TRACES)
    for one in jobs:
        programs.train(Net(), [one])
    assert len(TRACES) == before


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [1, 2])
def test_whole_chunks_have_a_static_length_off_the_cpu(seeds, digits, monkeypatch):
    (expected, *_) = train(make_programs(digits, RULE), digits, seeds, 53)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    calls, jit = [], jax.jit

    def watched(f, **options):
        jitted = jit(f, **options)

        def call(*args):
            if f.__name__ == ("run" if seeds == 1 else "together"):
                calls.append((f, args))
            return jitted(*args)

        return call

    monkeypatch.setattr(jax, "jit", watched)
    (found, *_) = train(make_programs(digits, RULE), digits, seeds, 53)
    chex.assert_trees_all_close(found, expected, rtol=1e-4, atol=1e-5)
    decisions = {"while", "cond", "sort"}
    static, traced = (
        decisions & jaxprs.primitives(jax.make_jaxpr(f, static_argnums=2)(*args))
        for f, args in calls
    )
    assert (static, traced) == (set(), {"while"})
    assert [length for _, (*_, length) in calls] == [50, None]


def test_only_remaining_steps_need_a_second_program(digits, monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    programs, traced = make_programs(digits, RULE), []
    for steps in (100, 50, 53, 7):
        before = len(TRACES)
        train(programs, digits, 1, steps)
        traced.append(len(TRACES) > before)
    assert traced == [True, False, True, False]


def train(programs, digits, seeds, steps):
    return programs.train(Net(), [job(programs, digits, seed, steps) for seed in range(seeds)])


@pytest.mark.slow
def test_the_error_counts_every_image_once(programs, digits):
    variables = programs.begin(Net(), jax.random.key(0))
    images = standardize(jnp.asarray(digits.test.inputs), digits)
    wrong = np.argmax(Net().apply(variables, images), -1) != digits.test.targets
    found = programs.measure(Net(), variables, digits.test)
    assert found == pytest.approx(100 * wrong.mean())


@pytest.mark.slow
def test_programs_of_few_modules_stay_in_memory(digits):
    programs, rng = make_programs(digits, RULE, kept=2), np.random.default_rng(0)
    before = compiled_runs()
    for width in (4, 5, 6, 7):
        variables = programs.begin(Net(width), jax.random.key(0))
        free = jax.tree.map(lambda _: jnp.asarray(True), variables["params"])
        rows = rng.integers(0, len(digits.train), (2, BATCH)).astype(np.int32)
        one = Job(variables, free, rows, np.zeros((0, BATCH, 10), np.float32))
        programs.measure(Net(width), programs.train(Net(width), [one])[0], digits.test)
    gc.collect()
    assert compiled_runs() - before == 2


def compiled_runs():
    """The number of compiled programs of steps in memory."""
    (client,) = {device.client for device in jax.devices()}
    names = [one.hlo_modules()[0].name for one in client.live_executables()]
    return names.count("jit_run")
