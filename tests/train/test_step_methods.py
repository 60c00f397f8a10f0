"""The train step on handwritten digits, with every method."""

import functools
import inspect

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from sklearn.datasets import load_digits

from gpnas.masks import apply, init_masks, masked_leaves, summary
from gpnas.methods import METHODS, build
from gpnas.models import LeNet300, linen
from gpnas.train import classification, init_state, make_step
from gpnas.train._counters import active_steps
from tests import traces

MODULE = LeNet300(widths=(24, 12))
TASK = classification(linen(MODULE))
STEPS, BATCH, DENSITY = 24, 32, 0.2
SETTINGS = {
    "acdc": {"phases": 2},
    "development": {"peak": 3.0, "every": 3, "window": 2},
    "iterative": {"rounds": 3},
    "pipeline": {"peak": 3.0, "every": 3},
    "topkast": {"every": 3, "extra": 0.2},
} | {name: {"every": 3} for name in ("gmp", "granet", "rigl", "set", "snfs", "ste")}
# Methods that masks alone make up; those with gates and reviews have tests of whole runs.
BY_MASKS = ["dense"] + [
    name for name, f in METHODS.items() if "allocation" in inspect.signature(f).parameters
]


#: Made of parts of which others are made, too.
TWINS = ("acdc", "granet", "iterative", "pipeline", "set", "snfs", "snip")


def of_each_method(*others):
    """Parameters of a test of all methods with masks; the tests of this file share their runs."""
    marks = [pytest.mark.exhaustive if name in TWINS else pytest.mark.slow for name in BY_MASKS]
    cases = [pytest.param(name, marks=mark) for name, mark in zip(BY_MASKS, marks, strict=True)]
    others = [pytest.param(name, marks=pytest.mark.slow) for name in others]
    return pytest.mark.parametrize("name", [*cases, *others])


@functools.cache
def batches():
    """(steps, batch, 8, 8, 1) float32 images and (steps, batch) labels."""
    digits = load_digits()
    images = digits.images[: STEPS * BATCH].reshape(STEPS, BATCH, 8, 8, 1)
    labels = np.int32(digits.target[: STEPS * BATCH]).reshape(STEPS, BATCH)
    return np.float32(images) / 16, labels


@functools.cache
def method_of(name):
    params = jax.eval_shape(MODULE.init, jax.random.key(0), jnp.zeros((1, 8, 8, 1)))["params"]
    shapes = {
        p: x.shape for p, x in masked_leaves(jax.eval_shape(init_masks, params), params).items()
    }
    takes = inspect.signature(METHODS[name]).parameters
    density = {"density": DENSITY} if "density" in takes else {}
    settings = {"name": name, **density, **SETTINGS.get(name, {})}
    given = {"total_steps": STEPS, "batch_size": BATCH, "images": STEPS * BATCH, "classes": 10}
    return build(settings, **given, shapes=shapes)


@functools.cache
def course(name):
    """The states before and after every step, and the metrics of every step."""
    method = method_of(name)
    tx = method.optimizer(optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(0.01)))
    start = jax.jit(lambda key: init_state(TASK, method, tx, batches()[0][0, :1], key))
    step = jax.jit(traces.at_most(1, make_step(TASK, method, tx)))
    states, metrics = [start(jax.random.key(3))], []
    for images, labels in zip(*batches(), strict=True):
        state, seen = step(states[-1], (images, labels))
        states.append(state)
        metrics.append(seen)
    return states, metrics


@jax.jit
def loss_of(params, masks, images, labels):
    """The loss of the masked network."""
    return TASK.loss({"params": apply(masks, params)}, (images, labels), None)[0]


def weights(state):
    """`{path: (mask, weights)}` as NumPy."""
    masks, params = masked_leaves(state.masks), masked_leaves(state.masks, state.params)
    return {p: (np.asarray(masks[p]), np.asarray(params[p])) for p in masks}


@of_each_method("sparse_vd")
def test_masked_weights_are_exactly_zero_after_every_step(name):
    for state in course(name)[0]:
        for mask, values in weights(state).values():
            assert method_of(name).zero_mask is not None or (values[~mask] == 0).all()


@of_each_method()
def test_the_forward_pass_is_that_of_the_masked_network(name):
    states, metrics = course(name)
    for t, (images, labels) in enumerate(zip(*batches(), strict=True)):
        expected = loss_of(states[t].params, states[t].masks, images, labels)
        np.testing.assert_allclose(metrics[t]["loss"], expected, rtol=1e-5)


SPELLED_OUT = {  # equal to the library's own functions, and other objects
    "update_mask": lambda masks, state: jax.tree.map(jnp.ones_like, masks),
    "zero_mask": lambda masks, state: jax.tree.map(jnp.ones_like, masks),
}
OF_RIGL = {"update_mask": lambda masks, state: masks, "zero_mask": lambda masks, state: masks}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "fields"), [("ste", SPELLED_OUT), ("rigl", OF_RIGL)])
def test_equal_functions_make_equal_runs(name, fields):
    """What a method does depends on what its functions compute, not on which objects they are."""
    method = method_of(name)._replace(**fields)
    tx = method.optimizer(optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(0.01)))
    state = init_state(TASK, method, tx, batches()[0][0, :1], jax.random.key(3))
    step = jax.jit(make_step(TASK, method, tx))
    for images, labels in zip(*(x[:8] for x in batches()), strict=True):
        state, metrics = step(state, (images, labels))
    assert float(metrics["loss"]) == float(course(name)[1][7]["loss"])
    chex.assert_trees_all_equal(state.params, course(name)[0][8].params)
    chex.assert_trees_all_equal(state.masks, course(name)[0][8].masks)


@of_each_method()
def test_it_learns_and_ends_at_its_density(name):
    states, metrics = course(name)
    losses = [float(m["loss"]) for m in metrics]
    assert np.isfinite(losses).all() and np.mean(losses[-4:]) < np.mean(losses[:2]) - 0.05
    size = sum(m.size for m, _ in weights(states[-1]).values())
    alive = sum(m.sum() for m, _ in weights(states[-1]).values())
    assert alive == (size if name == "dense" else round(DENSITY * size))


@of_each_method("sparse_vd")
def test_the_counters_counts_what_happened(name):
    states, _ = course(name)
    history = [{p: m for p, (m, _) in weights(s).items()} for s in states]
    counters = states[-1].counters
    sums, _ = active_steps(counters, states[-1].masks, states[-1].step)
    for path in history[0]:
        masks = [h[path] for h in history]
        pairs = list(zip(masks, masks[1:], strict=False))
        assert int(counters.grown[path]) == sum((b & ~a).sum() for a, b in pairs)
        assert int(counters.pruned[path]) == sum((a & ~b).sum() for a, b in pairs)
        assert float(sums[path]) == sum(m.sum() for m in masks[1:])


@pytest.mark.slow
def test_straight_through_teaches_the_dormant():
    states, _ = course("ste")
    for before, after in zip(states[3:], states[4:], strict=False):
        for (_, old), (mask, new) in zip(
            weights(before).values(), weights(after).values(), strict=True
        ):
            assert (old != new)[~mask].mean() > 0.5


@pytest.mark.slow
def test_topkast_moves_its_backward_set_only():
    states, _ = course("topkast")
    for before, after in zip(states[1:], states[2:], strict=False):
        learns = masked_leaves(method_of("topkast").updated(after.masks, after.mask_state))
        used = weights(after)
        for path, (_, old) in weights(before).items():
            moved = old != used[path][1]
            assert not (moved & ~np.asarray(learns[path])).any()
            assert moved.sum() > used[path][0].sum()  # and more than it uses


@pytest.mark.slow
def test_acdc_returns_to_dense_and_trains_there():
    states, _ = course("acdc")
    densities = [float(summary.density(s.masks)) for s in states]
    first_sparse = next(i for i, d in enumerate(densities) if d < 1)
    again = next(i for i in range(first_sparse, STEPS) if densities[i] == 1)
    for path, (mask, values) in weights(states[again]).items():
        woken = mask & ~weights(states[again - 1])[path][0]
        assert (values[woken] != 0).mean() > 0.5  # woken at zero, and at once trained


@pytest.mark.slow
def test_snip_judges_at_the_first_step():
    states, _ = course("snip")
    assert float(summary.density(states[0].masks)) == 1
    for state in states[1:]:
        assert float(summary.density(state.masks)) == pytest.approx(DENSITY, abs=1e-3)
        assert jax.tree.all(jax.tree.map(lambda a, b: (a == b).all(), state.masks, states[1].masks))


@pytest.mark.slow
def test_gradients_are_masked_before_they_are_clipped():
    """With a tight clip and lr 1, the living weights move by exactly the clip."""
    method = METHODS["static"](density=0.1)
    tx = optax.chain(optax.clip_by_global_norm(1e-3), optax.sgd(1.0))
    images, labels = (x[0] for x in batches())
    state = jax.jit(lambda key: init_state(TASK, method, tx, images[:1], key))(jax.random.key(0))
    after, _ = jax.jit(make_step(TASK, method, tx))(state, (images, labels))
    moved = jax.tree.map(lambda a, b: np.sum(np.square(a - b)), after.params, state.params)
    assert float(sum(jax.tree.leaves(moved)) ** 0.5) == pytest.approx(1e-3, rel=1e-2)


@pytest.mark.slow
def test_two_runs_differ_by_their_key_only():
    method = METHODS["set"](density=0.2, every=1)
    tx = optax.sgd(0.1)
    step = jax.jit(make_step(TASK, method, tx))
    start = jax.jit(lambda key: init_state(TASK, method, tx, batches()[0][0, :1], key))
    batch = tuple(x[0] for x in batches())

    def masks(seed):
        state = start(jax.random.key(seed))
        for _ in range(3):
            state, _ = step(state, batch)
        return [np.asarray(m) for m in masked_leaves(state.masks).values()]

    assert all((a == b).all() for a, b in zip(masks(0), masks(0), strict=True))
    assert all((a != b).any() for a, b in zip(masks(0), masks(1), strict=True))
