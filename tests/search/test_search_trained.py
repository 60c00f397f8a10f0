"""Candidates that are trained: what they inherit and cost; and that stopping changes nothing."""

import dataclasses

import jax
import numpy as np
import pytest

from gpnas._files import tuples
from gpnas.errors import UserError
from gpnas.models import LeNet300
from gpnas.search import (
    STRATEGIES,
    Failed,
    Proposal,
    Trial,
    search,
    search_together,
    storage,
)
from gpnas.search._history import rooted
from gpnas.search._jobs import Recipe
from gpnas.search._run import each
from gpnas.search._weights import StoredWeights, load_weights, save_weights
from gpnas.search.morphable import EXACT, morphable
from gpnas.search.morphable._lineage import descend, standard
from gpnas.search.spaces import cost_of
from gpnas.search.training import total_steps, trained
from tests.search.test_search_morphable import SPACES, drawn, outputs

pytestmark = pytest.mark.slow

RECIPE = Recipe(steps=6, child_steps=2, distil_steps=3, batch_size=16)
OBJECTIVES = ("val_error", "log_params")


@pytest.fixture(scope="module")
def few(digits):
    """A few digits, so that looks at them are quick."""
    cut = {
        name: dataclasses.replace(split, inputs=split.inputs[:150], targets=split.targets[:150])
        for name in ("train", "validation", "test")
        for split in [getattr(digits, name)]
    }
    return dataclasses.replace(digits, **cut)


@pytest.fixture(scope="module")
def space(few):
    return morphable(few.input_shape, 10, "dense", widths=(4, 6))


def small(space, seed=0):
    return space.sample(np.random.default_rng(seed))


def wider(architecture, seed=0):
    return EXACT["widen"](architecture, np.random.default_rng(seed))


def test_weights_come_back_as_they_were(tmp_path):
    variables = {"params": {"a": {"kernel": np.arange(6.0).reshape(2, 3)}}}
    save_weights(tmp_path, 3, StoredWeights((1, ("x", (2,))), 5, variables))
    found = load_weights(tmp_path, 3)
    assert found[:2] == ((1, ("x", (2,))), 5)
    np.testing.assert_array_equal(
        found.variables["params"]["a"]["kernel"], variables["params"]["a"]["kernel"]
    )
    with pytest.raises(UserError, match=r"workdir: got .* allowed: .*trial_4\.msgpack"):
        load_weights(tmp_path, 4)
    path = tmp_path / "trial_3.msgpack"
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(bytes(raw))
    with pytest.raises(UserError, match="damaged"):
        load_weights(tmp_path, 3)


def test_equal_networks_of_other_descent_are_one_module(space):
    one = small(space)
    other = one._replace(
        layers=tuple(
            row._replace(id=row.id + 5, inputs=tuple(i and i + 5 for i in row.inputs))
            for row in one.layers
        ),
        next_id=20,
    )
    assert one != other and standard(one) == standard(other)
    assert space.build(one) == space.build(other) == space.build(tuples(other))


@pytest.mark.parametrize("seed", range(6))
def test_children_of_exact_operators_compute_the_same_under_their_new_names(seed):
    rng = np.random.default_rng(seed)
    parent = child = SPACES["dense" if seed % 2 else "conv"].sample(rng)
    for name in ("widen", "skip_concat", "insert_conv", "insert_dense"):
        child = EXACT[name](child, rng) or child
    old, new = standard(parent), standard(child)
    variables = drawn(old, seed)
    begun, free = descend(parent, child, variables, drawn(new, seed + 1))
    before, after = outputs(old, variables, seed), outputs(new, begun, seed)
    np.testing.assert_allclose(after, before, rtol=1e-4, atol=1e-5)
    assert jax.tree.structure(free) == jax.tree.structure(begun["params"])
    theirs = jax.tree.leaves(variables["params"])
    for leaf, own in zip(*map(jax.tree.leaves, (begun["params"], free)), strict=True):
        assert own or any(np.array_equal(leaf, other) for other in theirs)


def test_where_nothing_is_new_all_is_free():
    one = small(SPACES["conv"])
    variables = drawn(standard(one), 0)
    begun, free = descend(one, one, variables, drawn(standard(one), 1))
    jax.tree.map(np.testing.assert_array_equal, begun, variables)
    assert all(jax.tree.leaves(free))


def test_a_child_that_does_not_learn_is_as_good_as_its_parent(space, few, tmp_path):
    still = RECIPE._replace(child_steps=0)
    evaluate = trained(space, few, still, tmp_path, ())
    parent = small(space)
    (first,) = evaluate([Trial(0, parent)])
    (child,) = evaluate([Trial(1, wider(parent), parent=0)])
    assert child["steps"] == 0 < first["steps"] == 6
    assert child["val_error"] == first["val_error"] and child["params"] > first["params"]
    (afresh,) = trained(space, few, still._replace(inherit=False), tmp_path, ())(
        [Trial(2, wider(parent), parent=0)]
    )
    assert afresh["steps"] == 6


def test_a_candidate_that_diverges_has_failed(space, few, tmp_path):
    recipe = RECIPE._replace(learning_rate=1e30)
    (outcome,) = trained(space, few, recipe, tmp_path, ())([Trial(0, small(space))])
    assert isinstance(outcome, Failed) and "weights are not finite" in outcome.reason
    assert not list(tmp_path.iterdir())


def test_a_child_that_computes_something_else_distils_first(space, few, tmp_path):
    evaluate = trained(space, few, RECIPE, tmp_path, ())
    parent = wider(small(space, 1))
    child = space.moves["cut"](parent, np.random.default_rng(0))
    assert child is not None
    found = evaluate([Trial(0, parent)]) + evaluate([Trial(1, child, parent=0)])
    assert [one["steps"] for one in found] == [6, 2 + 3]


def test_a_promoted_network_goes_on(space, few, tmp_path):
    evaluate = trained(space, few, RECIPE, tmp_path, ())
    one = small(space)
    (first,) = evaluate([Trial(0, one, budget=4)])
    before = load_weights(tmp_path, 0)
    (second,) = evaluate([Trial(1, one, parent=0, budget=10)])
    after = load_weights(tmp_path, 1)
    assert (first["steps"], second["steps"], before.steps, after.steps) == (4, 6, 4, 10)
    history = [Trial(0, one, first, budget=4), Trial(1, one, second, 0, budget=10)]
    assert total_steps([*history, Trial(2, one, second, 0, 1, 10), Trial(3, one)]) == 10


def test_replicas_are_other_draws_whose_mean_counts(space, few, tmp_path):
    one = small(space)
    twice = trained(space, few, RECIPE._replace(replicas=2), tmp_path, ("test_error", "latency_ms"))
    (found,) = twice([Trial(0, one)])
    assert found["steps"] == 12 and found["latency_ms"] > 0
    assert 0 < found["test_error"] < 100
    (alone,) = trained(space, few, RECIPE, tmp_path, ())([Trial(0, one)])
    assert "test_error" not in alone and alone["val_error"] != found["val_error"]


def test_together_or_one_by_one_is_the_same_up_to_rounding(space, few, tmp_path):
    evaluate = trained(space, few, RECIPE, tmp_path, ())
    trials = [Trial(i, small(space, i % 2), budget=5 + i // 2) for i in range(4)]
    together = evaluate(trials)
    alone = [evaluate([trial])[0] for trial in trials]
    for a, b in zip(together, alone, strict=True):
        assert a == pytest.approx(b, abs=1.0) and a["steps"] == b["steps"]


def test_stopped_and_resumed_it_is_the_same_search(space, few, tmp_path):
    def parts(folder):
        evaluate = trained(space, few, RECIPE, tmp_path / folder, ())
        return STRATEGIES["lemonade"](space, OBJECTIVES, first=2), lambda t: evaluate([t])[0]

    whole = search(*parts("whole"), 6, seed=3)
    for evaluations in (2, 3, 6):
        kept = storage.open_study(f"sqlite:///{tmp_path}/search.db", "s", OBJECTIVES, {})
        found = storage.work(kept, *parts("parts"), evaluations, seed=3)
    assert [dict(t.metrics) for t in found] == [dict(t.metrics) for t in whole]
    assert [t.parent for t in found] == [t.parent for t in whole]


def size(trial):
    return {"error": float(trial.architecture)}


def counting(history, rng):
    """Proposes 0, 0, 1, 1, 2, …"""
    return Proposal(len(history) // 2, len(history) - 1 if history else None)


def test_several_at_a_time_are_the_evaluations_of_one_at_a_time():
    sizes = []

    def evaluate(trials):
        sizes.append(len(trials))
        return each(size)(trials)

    one = search(counting, size, 7)
    many = search_together(counting, evaluate, 7, together=4)
    assert [t.architecture for t in many] == [t.architecture for t in one]
    assert [t.metrics for t in many] == [t.metrics for t in one]
    assert [t.repeats for t in many] == [t.repeats for t in one]
    assert sum(sizes) == 7 and max(sizes) == 2


def test_a_search_may_end_before_its_evaluations():
    found = search_together(counting, each(size), 100, lambda history: len(history) >= 5)
    assert len(found) == 5


def test_no_parent_is_a_repeat():
    history = [Trial(0, "a", {}), Trial(1, "a", {}, 0, repeats=0)]
    for parent, known in ((1, 0), (0, 0), (None, None)):
        assert rooted(history, Trial(2, "b", parent=parent)) == Trial(2, "b", parent=known)


def test_costs_are_those_of_the_module():
    assert cost_of(LeNet300(), (28, 28, 1)) == {
        "params": 266_610, "macs": 266_200, "log_params": pytest.approx(5.4259, abs=1e-4),
    }  # fmt: skip
