"""Every registered method keeps the contract of a mask transform.

Each is run over a whole short schedule on weights that drift at random: step by step under `jit`,
and once more through `masked("*")`, inside `lax.scan`, under `vmap` over seeds.
"""

import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gpnas.masks import MaskContext, apply, finite, init_masks, masked, masked_leaves
from gpnas.methods import METHODS, build
from tests import traces
from tests.cases import some

PARAMS = {
    "Dense_0": {"kernel": jnp.zeros((12, 16)), "bias": jnp.zeros(16)},
    "Dense_1": {"kernel": jnp.zeros((16, 8)), "bias": jnp.zeros(8)},
}
SHAPES = {p: leaf.shape for p, leaf in masked_leaves(init_masks(PARAMS), PARAMS).items()}
SIZE = sum(a * b for a, b in SHAPES.values())
STEPS, DENSITY = 40, 0.2
# Gates and reviews need a whole run: tests/gates, test_methods_sensitive and test_methods_lottery.
NAMES = ["dense"] + [
    name for name, f in METHODS.items() if "allocation" in inspect.signature(f).parameters
]
#: One method of each kind of update.
OFTEN = {"acdc", "development", "gmp", "iterative", "rigl", "snip"}
SETTINGS = {
    "acdc": {"phases": 3},
    "dense": {},
    "development": {
        "peak": 3.0,
        "every": 4,
        "window": 3,
    },
    "gmp": {"every": 4},
    "granet": {"every": 4},
    "iterative": {"rounds": 4},
    "pipeline": {"peak": 3.0, "every": 4},
    "rigl": {"every": 4},
    "set": {"every": 4},
    "snfs": {"every": 4},
    "topkast": {"every": 4},
}


def normal(key, tree):
    """Random numbers of a tree's shapes."""
    leaves, treedef = jax.tree.flatten(tree)
    keys = jax.random.split(key, len(leaves))
    drawn = [jax.random.normal(k, x.shape) for k, x in zip(keys, leaves, strict=True)]
    return jax.tree.unflatten(treedef, drawn)


class Run:
    """A method, and its whole schedule done once."""

    def __init__(self, name):
        density = {} if name == "dense" else {"density": DENSITY}
        self.density = density.get("density", 1.0)
        settings = {"name": name, **density, **SETTINGS.get(name, {})}
        self.method = build(settings, total_steps=STEPS, batch_size=32, shapes=SHAPES)
        step = functools.partial(self.step, self.method.transform)
        self.compiled = jax.jit(traces.at_most(1, step))
        self.course, self.batched = functools.cache(self.course), functools.cache(self.batched)

    def init(self, transform, key):
        params = normal(key, PARAMS)
        masks, state = transform.init(init_masks(PARAMS), params, jax.random.fold_in(key, 1))
        living = apply(self.method.nonzero(masks, state), params)
        return jnp.int32(0), key, living, masks, state

    def step(self, transform, carry, bad):
        """One step; some gradients are `bad[1]` at step `bad[0]`."""
        step, key, params, old, state = carry
        own = jax.random.fold_in(key, step)
        drift, grads, lots = (normal(jax.random.fold_in(own, i), PARAMS) for i in range(3))
        at, value = bad
        grads = jax.tree.map(lambda g, r: jnp.where((step == at) & (r > 2), value, g), grads, lots)
        ctx = MaskContext(step, params, grads, own)
        masks, state = transform.update(old, state, ctx)
        params = jax.tree.map(lambda p, d: p + 0.1 * d, params, drift)
        params = apply(self.method.nonzero(masks, state), params)
        seen = (old, masks, params, transform.may_change(step), finite.skipped(state))
        return (step + 1, key, params, masks, state), seen

    def course(self, at=-1, value=0.0):
        """What `step` tells at every step, as NumPy."""
        init = jax.jit(functools.partial(self.init, self.method.transform))
        carry, told = init(jax.random.key(0)), []
        for _ in range(STEPS):
            carry, seen = self.compiled(carry, (jnp.int32(at), jnp.float32(value)))
            told.append(jax.tree.map(np.asarray, seen))
        return told

    def batched(self):
        """Masks after every step of two seeds, by `masked` and scan under vmap."""
        transform = masked(self.method.transform, "*")

        def one(key):
            start = self.init(transform, key)
            told = jax.lax.scan(
                lambda c, _: self.step(transform, c, (-1, 0.0)), start, length=STEPS
            )[1]
            return told[1]

        keys = jnp.stack([jax.random.key(0), jax.random.key(1)])
        return jax.tree.map(np.asarray, jax.jit(jax.vmap(one))(keys))


@functools.cache
def run(name):
    """The run of a method, shared by the tests."""
    return Run(name)


def same(a, b):
    """Whether two pytrees are equal to the bit."""
    return all((x == y).all() for x, y in zip(*map(jax.tree.leaves, (a, b)), strict=True))


def size(masks):
    """Living weights."""
    return sum(int(m.sum()) for m in masked_leaves(masks).values())


@pytest.mark.slow
@pytest.mark.parametrize("name", some(NAMES, OFTEN))
def test_one_trace_serves_the_schedule(name):
    run(name).course()  # a second trace is an error
    told = run(name).course(4, np.nan)
    assert len(told) == STEPS


@pytest.mark.parametrize("name", NAMES)
def test_the_structure_is_kept_and_biases_stay(name):
    for _, masks, *_ in run(name).course():
        assert jax.tree.structure(masks) == jax.tree.structure(PARAMS)
        assert {p: m.shape for p, m in masked_leaves(masks).items()} == SHAPES
        assert all(m.dtype == bool for m in jax.tree.leaves(masks))
        for layer in masks.values():
            assert layer["bias"].shape == () and layer["bias"]


@pytest.mark.parametrize("name", NAMES)
def test_what_is_masked_is_exactly_zero(name):
    if run(name).method.zero_mask is not None:
        pytest.skip("keeps its dormant weights")
    for _, masks, params, *_ in run(name).course():
        for path, mask in masked_leaves(masks).items():
            assert (masked_leaves(masks, params)[path][~mask] == 0).all()


@pytest.mark.slow
@pytest.mark.parametrize(("value", "which"), [(0.0, 0), (np.nan, 0), (np.inf, -1)])
@pytest.mark.parametrize("name", NAMES)
def test_the_density_is_exact_in_the_end(name, value, which):
    """Also if the gradients of the first or the last mask update are not finite."""
    updates = [i for i, (old, new, *_) in enumerate(run(name).course()) if not same(old, new)]
    at = updates[which] if updates else 4
    course = run(name).course(at, value)
    if not np.isfinite(value):
        assert same(course[at][0], course[at][1])
        assert course[-1][-1] == (name != "dense" and bool(updates))
    masks = course[-1][1]
    assert size(masks) == round(run(name).density * SIZE)
    expected = float(run(name).method.forecast.density(jnp.int32(STEPS)))
    assert expected == pytest.approx(run(name).density)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_the_forecast_density_is_that_of_the_masks_after_each_step(name):
    told = [size(masks) for _, masks, *_ in run(name).course()]
    forecast = np.asarray(jax.vmap(run(name).method.forecast.density)(jnp.arange(STEPS))) * SIZE
    np.testing.assert_allclose(told, forecast, atol=len(SHAPES))  # each leaf rounds


@pytest.mark.parametrize("name", NAMES)
def test_may_change_is_honest(name):
    changed = 0
    for old, new, _, may, _ in run(name).course():
        assert may or same(old, new)
        changed += not same(old, new)
    assert changed or name in ("dense", "static")


@pytest.mark.slow
@pytest.mark.parametrize("name", some(NAMES, OFTEN))
def test_masked_and_scan_and_vmap_change_no_mask(name):
    many = run(name).batched()
    for step, (_, masks, *_) in enumerate(run(name).course()):
        assert same(masks, jax.tree.map(lambda m, step=step: m[0, step], many))


@pytest.mark.parametrize("name", NAMES)
def test_seeds_differ(name):
    last = jax.tree.map(lambda m: m[:, -1], run(name).batched())
    assert name == "dense" or any((m[0] != m[1]).any() for m in masked_leaves(last).values())
