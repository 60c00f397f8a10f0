"""Pruning at plateaus: how far a cut goes, and when there is one."""

import dataclasses
import math
from typing import Any

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from gpnas.masks import apply, init_masks, stateful_identity
from gpnas.methods import EvalContext, plateau

SHAPES = {"Dense_0": (3, 4), "Dense_1": (4, 2)}
SIZE = 20
LOSSES = {  # of the sizes of what was taken away; all but the last only grow
    "sum": lambda gone: gone.sum(),
    "number": np.count_nonzero,
    "largest": lambda gone: gone.max(initial=0),
    "whim": lambda gone: (7 * np.count_nonzero(gone) + 3) % 5,
}


def with_biases(kernels, bias):
    return {name: {"kernel": jnp.asarray(x), "bias": bias} for name, x in kernels.items()}


def flat(tree):
    """The kernels of a pytree, one after the other."""
    return np.concatenate([np.array(tree[name]["kernel"]).ravel() for name in SHAPES])


class Network:
    """Weights, masks, and a loss by what is taken away of the weights."""

    def __init__(self, weights, masks, loss="sum"):
        self.masks = with_biases(masks, jnp.array(True))
        self.params = apply(self.masks, with_biases(weights, jnp.ones(2)))
        self.loss, self.calls = LOSSES[loss], 0
        self.sizes = np.abs(flat(self.params)).astype(np.float64)
        self.alive = flat(self.masks)
        self.total = int(self.alive.sum())

    def loss_of(self, params):
        self.calls += 1
        return float(self.loss(self.sizes[flat(params) == 0]))

    def cut(self, bound, density):
        """Whether each weight lives, after a cut."""
        masks = plateau.prune_to_bound(self.masks, self.params, self.loss_of, bound, density)
        assert jax.tree.structure(masks) == jax.tree.structure(self.masks)
        return flat(masks)

    @property
    def largest_mean(self):
        """Of |w|, of the layers with living weights."""
        layers = [(self.params[n]["kernel"], self.masks[n]["kernel"]) for n in SHAPES]
        return max(float(np.mean(np.abs(w)[m])) for w, m in jax.device_get(layers) if m.any())


def of_shapes(dtype, **more):
    return st.fixed_dictionaries({n: arrays(dtype, s, **more) for n, s in SHAPES.items()})


def networks(*losses):
    values = st.sampled_from([0, 0.25, -0.25, 0.5, 1, -2, 3]) | st.floats(-4, 4, width=16)
    return st.builds(
        Network,
        st.fixed_dictionaries(
            {n: arrays(np.float32, s, elements=values) for n, s in SHAPES.items()}
        ),
        st.fixed_dictionaries({n: arrays(bool, s) for n, s in SHAPES.items()}),
        st.sampled_from(losses),
    )


bounds = st.sampled_from([-1.0, 0.0, 0.6, 1.0, 2.0, 3.0, 5.0, 1e9])
floors = st.sampled_from([0.05, 0.2, 0.3, 0.5, 0.9, 1.0])


@hypothesis.settings(max_examples=100)
@given(networks(*LOSSES), bounds, floors)
def test_what_a_cut_never_does(net, bound, density):
    """Exceed the bound, wake the dead, go below the floor, keep a weight and take a larger one."""
    alive = net.cut(bound, density)
    gone = net.alive & ~alive
    assert not (alive & ~net.alive).any()
    if gone.any():
        assert net.loss(net.sizes[gone]) <= bound
        assert alive.sum() >= density * SIZE
        assert net.sizes[gone].max() < net.sizes[alive].min()


@hypothesis.settings(max_examples=100)
@given(networks("sum", "number", "largest"), bounds, floors)
def test_a_cut_goes_as_far_as_it_may(net, bound, density):
    """The next larger weights may not go: too costly, too many, or above the largest mean.

    Weights of one size go together, so a tie may be left where a part of it could have gone.
    """
    kept = net.sizes[net.cut(bound, density)]
    if not kept.size:
        assert not net.total
        return
    following = net.sizes[net.alive & (net.sizes <= kept.min())]
    too_costly = net.loss(following) > bound
    too_many = net.total - following.size < density * SIZE
    assert too_costly or too_many or kept.min() >= net.largest_mean


def some_network(*, empty=(), loss="sum"):
    rng = np.random.default_rng(0)
    weights = {n: rng.normal(size=s).astype(np.float32) for n, s in SHAPES.items()}
    return Network(weights, {n: np.full(s, n not in empty) for n, s in SHAPES.items()}, loss)


@pytest.mark.parametrize("loss", ["sum", "number", "largest"])
def test_what_the_bound_pays_for(loss):
    net = some_network(loss=loss)
    ascending = np.sort(net.sizes)
    least = ascending[ascending < net.largest_mean]
    assert 5 < least.size < SIZE
    for count in range(SIZE):
        alive = net.cut(float(net.loss(ascending[:count])), 0.05)
        expected = ascending[min(count, least.size) :]
        np.testing.assert_array_equal(np.sort(net.sizes[alive]), expected)


@pytest.mark.parametrize("density", [0.6, 0.77, 0.9])
def test_the_floor_at_once(density):
    net = some_network()
    assert net.cut(1e9, density).sum() == math.ceil(density * SIZE)
    assert net.calls == 1


def test_no_further_than_the_largest_mean_at_once():
    net = some_network()
    np.testing.assert_array_equal(net.cut(1e9, 0.05), net.sizes >= np.float32(net.largest_mean))
    assert net.calls == 1


@pytest.mark.parametrize(("bound", "density"), [(-1.0, 0.1), (1e9, 1.0)])
def test_nothing_may_go(bound, density):
    assert some_network().cut(bound, density).all()


@pytest.mark.parametrize("bound", [1e9, 0.5, -1.0])
@pytest.mark.parametrize("empty", [("Dense_0",), ("Dense_1",), tuple(SHAPES)])
def test_an_empty_layer(empty, bound):
    net = some_network(empty=empty)
    alive = net.cut(bound, 0.05)
    assert not (alive & ~net.alive).any()
    assert (alive.sum() < net.total) == (bound > 0 and net.total > 0)


@dataclasses.dataclass
class State:
    """What a review needs of a train state."""

    step: Any
    params: Any
    masks: Any
    mask_state: plateau.Plateau


def reviewed(losses, density=0.05, loss_of=lambda params: 0.0, **settings):
    """States before and after each look; weights grow from look to look by a factor i + 1."""
    net = some_network()
    masks, memory = stateful_identity(plateau.init_plateau).init(
        init_masks(net.params), net.params, jax.random.key(0)
    )
    settings = {"patience": 2, "slack": 0.0, "tolerance": 0.0, "stop": 10**6} | settings
    review = plateau.prune_at_plateaus(density=density, **settings)
    after, course = State(jnp.int32(0), net.params, masks, memory), []
    for i, loss in enumerate(losses):
        params = apply(after.masks, jax.tree.map(lambda p, i=i: p * (i + 1), net.params))
        before = dataclasses.replace(after, step=jnp.int32(i), params=params)
        after = review(before, EvalContext(loss, loss_of, lambda params: None))
        course.append((before, after))
    return course


def cuts(course):
    """Looks at which there was a cut: nothing is remembered then, and else nothing changes."""
    found = []
    for i, (before, after) in enumerate(course):
        if jnp.isinf(after.mask_state.best):
            found.append(i)
            assert after.mask_state.bad == 0
            np.testing.assert_array_equal(flat(after.params), flat(after.mask_state.params))
        else:
            assert after.params is before.params and after.masks is before.masks
    return found


def test_remembering_changes_nothing():
    net = some_network()
    transform = stateful_identity(plateau.init_plateau)
    masks, memory = transform.init(net.masks, net.params, jax.random.key(0))
    assert masks is net.masks and jnp.isinf(memory.best) and memory.bad == 0
    np.testing.assert_array_equal(flat(memory.params), flat(net.params))
    assert transform.update(masks, memory, None) == (masks, memory)
    assert not transform.may_change(jnp.int32(5))


def test_cuts_after_bad_looks_in_a_row():
    #         best      bad  best  bad  cut  good bad  bad: cut
    losses = (1.0, 0.9, 0.9, 0.8, 0.85, 0.9, 5.0, 5.1, 5.2, 4.0, 4.5)
    course = reviewed(losses)
    assert cuts(course) == [5, 8]
    assert [int(after.mask_state.bad) for _, after in course] == [0, 0, 1, 0, 1, 0, 0, 1, 0, 0, 1]
    for at, best in (5, 3), (8, 6):  # the parameters of the best look come back
        before, after = course[best][0], course[at][1]
        assert flat(after.masks).sum() < flat(before.masks).sum()
        expected = np.where(flat(after.masks), flat(before.params), 0)
        np.testing.assert_array_equal(flat(after.params), expected)


def test_slack():
    assert cuts(reviewed((1.0, 1.05, 1.09, 1.08, 1.2, 1.1), slack=0.1)) == [5]
    assert cuts(reviewed((1.0, 0.9, 0.8, 0.3, 0.2), slack=-0.5)) == [2]  # better, not by enough
    course = reviewed((1.0, 0.9, 0.8), slack=-0.5)
    np.testing.assert_allclose(flat(course[1][1].mask_state.params), flat(course[1][0].params))


def test_nothing_is_cut_after_the_stop():
    losses = (1.0,) * 12
    assert cuts(reviewed(losses)) == [2, 5, 8, 11]
    assert cuts(reviewed(losses, stop=8)) == [2, 5]
    course = reviewed(losses, stop=0)
    assert cuts(course) == [] and course[-1][1].mask_state.bad == 11


@given(
    st.lists(st.integers(1, 12).map(lambda x: x / 10), max_size=15),
    st.integers(1, 3),
    st.sampled_from([-0.37, 0.0, 0.23]),
)
def test_looks_are_counted(losses, patience, slack):
    """Against the definition, with losses that are not numbers of float32."""
    best, bad, expected = math.inf, 0, []
    for i, loss in enumerate(losses):
        bad = 0 if loss < (1 + slack) * best else bad + 1
        best = min(best, loss)
        if bad == patience:
            expected.append(i)
            best, bad = math.inf, 0
    assert cuts(reviewed(losses, patience=patience, slack=slack)) == expected


@pytest.mark.parametrize(("loss", "allowed"), [(1.49, True), (1.51, False)])
def test_the_bound_is_that_of_the_best_look(loss, allowed):
    """Of its parameters too; and they come back even if nothing may go."""
    asked = []
    course = reviewed(
        (2.0, 1.0, 3.0, 3.0), tolerance=0.5, loss_of=lambda p: asked.append(flat(p)) or loss
    )
    assert cuts(course) == [3]
    after, best = course[3][1], flat(course[1][0].params)
    assert (flat(after.masks).sum() < SIZE) == allowed
    np.testing.assert_array_equal(flat(after.params), np.where(flat(after.masks), best, 0))
    assert all(np.isin(params, [0, *best]).all() for params in asked)
