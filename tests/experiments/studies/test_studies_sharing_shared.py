"""Weight sharing: a path is the network alone, and only its weights learn."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.studies.sharing import shared as sharing
from experiments.studies.sharing.costs import selection_macs
from experiments.studies.sharing.shared import Recipe, by_shared_weights, make_shared, minibatches
from experiments.studies.supernet201 import choice
from gpnas.models import Cell201, cell201, network_macs
from gpnas.search import STRATEGIES, Trial, load_table, search
from tests.supernets import make_small, make_tiny

ARCHITECTURE = ("conv3", "none", "skip", "pool3", "conv1", "conv3")


@pytest.fixture(scope="module")
def tiny(digits):
    return make_tiny(digits)


@pytest.fixture(scope="module")
def small(digits, one_stage):
    return make_small(digits)


def paths(count, seed=0):
    space, rng = load_table("nas_bench_201").space, np.random.default_rng(seed)
    return np.stack([choice(space.sample(rng)) for _ in range(count)])


@pytest.mark.slow
def test_shared_error_is_that_of_the_network_alone_with_the_same_weights(small):
    alone = Cell201(ARCHITECTURE, channels=2, cells=1)
    own = alone.init(jax.random.key(1), small.held.images[:1])

    def shared(path, _):
        leaf = small.begin.params
        for key in path:
            leaf = leaf[key.key]
        return leaf

    weights = {**own, "params": jax.tree.map_with_path(shared, own["params"])}
    wrong = 0
    for row in small.rows[:4]:  # norms use the statistics of the minibatch: hence train=True
        logits, _ = alone.apply(weights, small.held.images[row], train=True, mutable="batch_stats")
        wrong += int((logits.argmax(-1) != small.held.labels[row]).sum())
    evaluate = by_shared_weights(small.shared, small.begin.params, small.held, small.rows, choice)
    assert evaluate(Trial(0, ARCHITECTURE, budget=4)) == {"error": wrong / 64}


@pytest.mark.slow
def test_only_the_chosen_path_learns(small):
    shared = make_shared(small.supernet, (8, 8, 1), Recipe(weight_decay=0.0))
    rows = small.rows[:1]
    state = shared.train(
        jax.tree.map(jnp.copy, small.begin), small.held, choice(ARCHITECTURE)[None], rows, 2
    )
    chosen = {f"edge{at}_{name}" for at, name in enumerate(ARCHITECTURE)}
    for path, before in jax.tree.leaves_with_path(small.begin.params):
        after = state.params
        for key in path:
            after = after[key.key]
        edges = [key.key for key in path if key.key.startswith("edge")]
        learnt = not edges or edges[0] in chosen
        assert np.array_equal(before, after) != learnt, path


@pytest.mark.slow
def test_training_in_pieces_is_training_at_once(tiny, monkeypatch):
    selections, rows = paths(7), tiny.rows[:7]

    def trained(*cuts):
        state = jax.tree.map(jnp.copy, tiny.begin)
        for start, end in zip((0, *cuts), (*cuts, 7), strict=True):
            state = tiny.shared.train(state, tiny.held, selections[start:end], rows[start:end], 7)
        return jax.device_get((state.params, state.opt_state, state.step))

    whole, pieces = trained(), trained(3)
    monkeypatch.setattr(sharing, "CHUNK", 2)
    for other in (pieces, trained()):
        jax.tree.map(np.testing.assert_array_equal, whole, other)
    assert whole[-1] == 7


def test_the_rate_falls_as_a_cosine():
    """Steps of plain gradient descent, of which the first is at the full rate, the last at none."""

    class Sum(nn.Module):
        """Logits of class 0 whose gradient is 1/2 per unit of input at the start."""

        @nn.compact
        def __call__(self, images, selection):
            w = self.param("w", nn.initializers.zeros, ())
            return jnp.stack([w * images, jnp.zeros_like(images)], -1)

    recipe = Recipe(learning_rate=0.5, least=0.0, momentum=0.0, weight_decay=0.0, clip=np.inf)
    shared = make_shared(Sum(), (), recipe)
    seen = sharing.ImageSplit(jnp.full((1,), 2.0), jnp.ones(1, jnp.int32))
    for step, rate in ((0, 0.5), (5, 0.25), (10, 0.0)):
        state = shared.init(jax.random.key(0)).replace(step=jnp.int32(step))
        after = shared.train(state, seen, np.zeros((1, 6), np.int32), np.zeros((1, 1), int), 10)
        np.testing.assert_allclose(after.params["w"], -rate, atol=1e-6)
        assert after.step == step + 1


@pytest.mark.slow
def test_macs_are_those_of_the_network_alone(small):
    macs = selection_macs(small.supernet, (8, 8, 1))
    for path in paths(5):
        alone = Cell201(tuple(cell201.OPERATIONS[i] for i in path), channels=2, cells=1)
        variables = alone.init(jax.random.key(0), np.zeros((1, 8, 8, 1), np.float32))
        own = network_macs(alone, variables, (8, 8, 1))
        assert macs(path) == own.total(variables["params"]) > 0
        assert macs(np.eye(len(cell201.OPERATIONS))[path]) == macs(path)


@pytest.mark.parametrize("count", [0, 3, 9])
def test_passes_show_each_image_once(count):
    rows = minibatches(np.random.default_rng(0), 22, 5, count)
    assert rows.shape == (count or 4, 5) and rows.dtype == np.int32
    for start in range(0, len(rows), 4):
        seen = rows[start : start + 4].ravel()
        assert len(set(seen)) == len(seen) and seen.min() >= 0 and seen.max() < 22


def test_the_papers_two_rounds_are_successive_halving():
    space = load_table("nas_bench_201").space
    propose = STRATEGIES["successive_halving"](space, "error", (10, 60), reduction=4, first=20)
    trials = search(propose, lambda t: {"error": float(hash(t.architecture) % 97)}, 25, 0)
    assert [t.budget for t in trials] == [10] * 20 + [60] * 5
    ranked = sorted(trials[:20], key=lambda t: t.metrics["error"])
    assert [t.parent for t in trials[20:]] == [t.number for t in ranked[:5]]
