"""Fronts against their definition, and a strategy that finds one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from gpnas.search import STRATEGIES, Trial, search
from gpnas.search.pareto import archive, crowding, dominates, points, ranks
from tests.search.test_search_strategies import SPACE, error

CLOUDS = arrays(np.float64, st.tuples(st.integers(1, 12), st.integers(1, 3)),
                elements=st.integers(0, 4).map(float))  # fmt: skip


@given(CLOUDS)
def test_ranks_peel_front_after_front(cloud):
    found = ranks(cloud)
    for i, point in enumerate(cloud):
        above = [found[j] for j, other in enumerate(cloud) if dominates(other, point)]
        assert found[i] == (max(above) + 1 if above else 0)


def test_crowding_is_the_room_between_the_neighbours():
    cloud = np.array([[0.0, 10.0], [1.0, 6.0], [4.0, 1.0], [10.0, 0.0]])
    found = crowding(cloud)
    assert np.isinf(found[[0, 3]]).all()
    np.testing.assert_allclose(found[1:3], [0.4 + 0.9, 0.9 + 0.6])


def test_an_empty_front_has_neither_ranks_nor_room():
    nothing = np.zeros((0, 2))
    assert crowding(nothing).shape == ranks(nothing).shape == (0,)


def test_the_archive_leaves_out_what_is_beaten_repeated_or_not_evaluated():
    history = [
        Trial(0, "a", {"x": 2.0, "y": 1.0}),
        Trial(1, "b", {"x": 1.0, "y": 2.0}),
        Trial(2, "c", {"x": 2.0, "y": 2.0}),
        Trial(3, "a", {"x": 2.0, "y": 1.0}, repeats=0),
        Trial(4, "d"),
    ]
    assert [trial.number for trial in archive(history, ("x", "y"))] == [1, 0]
    assert archive(history[4:], ("x", "y")) == []


def test_nsga2_finds_more_of_the_front_than_random():
    listed = [Trial(i, a) for i, a in enumerate(SPACE.enumerate_all())]
    everything = [trial._replace(metrics=error(trial)) for trial in listed]
    front = {tuple(p) for p in points(archive(everything, ("error", "size")), ("error", "size"))}

    def share(propose, seed):
        found = points(search(propose, error, 80, seed), ("error", "size"))
        return len(front & {tuple(p) for p in found}) / len(front)

    ours = [share(STRATEGIES["nsga2"](SPACE, ("error", "size")), seed) for seed in range(10)]
    theirs = [share(STRATEGIES["random"](SPACE), seed) for seed in range(10)]
    assert np.mean(ours) > np.mean(theirs) + 0.1
    assert len(front) > 3


@pytest.mark.parametrize("seed", range(3))
def test_nsga2_has_children_of_the_best(seed):
    trials = search(STRATEGIES["nsga2"](SPACE, ("error", "size"), 10), error, 60, seed)
    assert all(trial.parent is None for trial in trials[:10])
    for trial in trials[10:]:
        past = trials[: trial.number - trial.number % 10]
        rank = ranks(points(past, ("error", "size")))
        best = {t.architecture: r for t, r in zip(past, rank, strict=True)}
        tenth = sorted(best.values())[min(len(best), 10) - 1]
        assert best[past[trial.parent].architecture] <= tenth
