"""Comparisons of strategies, and the records of searches."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ml_collections import ConfigDict

from gpnas.errors import UserError
from gpnas.search import Trial
from gpnas.search.comparison import compare, make_config
from gpnas.search.pareto import archive, dominates
from gpnas.search.record import improvements

POINTS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=12)


@given(POINTS)
def test_improvements_are_what_nothing_before_equals_or_beats(points):
    trials = [Trial(i, i, {"a": float(x), "b": float(y)}) for i, (x, y) in enumerate(points)]
    found = dict(improvements(trials, ("a", "b")))
    for count in range(1, len(trials) + 1):
        before = np.array(points[: count - 1]).reshape(-1, 2)
        here = np.array(points[count - 1])
        beaten = any(dominates(other, here) or (other == here).all() for other in before)
        assert (count in found) == (not beaten)
    front = {(t.metrics["a"], t.metrics["b"]) for t in archive(trials, ("a", "b"))}
    assert front <= {(t.metrics["a"], t.metrics["b"]) for t in found.values()}


def small(seeds=2, **fields):
    config = ConfigDict({
        "space": "nas_bench_201", "columns": 0, "objectives": ("cifar10_validation_12",),
        "reports": ("cifar10_test_200",), "strategy": {}, "evaluations": 15, "seed": 0,
    })  # fmt: skip
    arms = {"random": {"name": "random"}, "young": {"name": "evolution", "population": 5}}
    made = make_config(config, "small", {a: {"strategy": own} for a, own in arms.items()}, seeds)
    made.update(fields)
    return made


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.slow
def test_what_is_there_is_not_searched_again(tmp_path, capsys):
    path = compare(small(only="random", seeds=1), str(tmp_path))
    assert capsys.readouterr().err == "small 1/1 random, seed 0\n"
    first = lines(path)
    assert [record["arm"] for record in first] == ["random"]
    records = lines(compare(small(), str(tmp_path)))
    assert records[:1] == first and len(records) == 4
    assert {(r["arm"], r["seed"]) for r in records} == {
        (arm, seed) for arm in ("random", "young") for seed in (0, 1)
    }
    for record in records:
        assert record["evaluations"] == 15 <= record["trials"]
        course = [entry["metrics"]["cifar10_validation_12"] for entry in record["course"]]
        assert course == sorted(course, reverse=True)
        assert record["front"][0]["metrics"] == record["course"][-1]["metrics"]
        assert set(record["course"][0]["metrics"]) == {"cifar10_validation_12", "cifar10_test_200"}
    again = compare(small(), str(tmp_path))
    assert lines(again) == records


@pytest.mark.slow
def test_a_search_of_a_comparison_is_that_search_alone(tmp_path):
    both = lines(compare(small(), str(tmp_path / "both")))
    alone = lines(compare(small(only="young"), str(tmp_path / "alone")))
    for record in alone:
        twin = next(r for r in both if (r["arm"], r["seed"]) == ("young", record["seed"]))
        assert twin["course"] == record["course"] and twin["front"] == record["front"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"only": "old"}, "only: got 'old', allowed: random, young"),
        ({"space": "none"}, "space: got 'none'"),
        ({"reports": ("accuracy",)}, "reports: got 'accuracy'"),
    ],
)
def test_mistakes_come_before_the_first_search(tmp_path, fields, message):
    with pytest.raises(UserError, match=message):
        compare(small(**fields), str(tmp_path))
    assert not list(tmp_path.iterdir())
