"""Which method at which cost: only arms that no other one of at most their cost surpasses."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpnas import report
from gpnas.report import read_runs, summarise
from gpnas.report._choice import choice_table


def with_costs(make, arm, flops, nonzeros, validation, test=1.0, **changes):
    record = make.record(arm, every=2000, **changes)
    record["cost"] |= {"train_flops": flops, "nonzeros": nonzeros}
    record["metrics"] |= {"val_error_last": validation, "test_error_last": test}
    return record


def chosen(make, folder, records):
    loaded = read_runs([make.records(folder / "s" / "records.jsonl", records)])
    table = choice_table(summarise(loaded))
    return None if table is None else [row[0].text for row in table.rows]


def test_a_surpassed_arm_is_left_out(make, tmp_path):
    records = [
        with_costs(make, "dense", 100.0, 1000, 1.0),
        with_costs(make, "dear", 50.0, 100, 2.1),
        with_costs(make, "good", 20.0, 100, 2.0),
        with_costs(make, "small", 30.0, 50, 3.0),
    ]
    assert chosen(make, tmp_path, records) == ["good", "small", "dense"]


def test_costs_within_one_percent_are_equal(make, tmp_path):
    records = [
        with_costs(make, "a", 100.0, 100, 2.0),
        with_costs(make, "b", 100.9, 100, 1.9),
        with_costs(make, "c", 102.0, 100, 1.8),
    ]
    assert chosen(make, tmp_path, records) == ["b", "c"]


def test_the_test_set_has_no_part(make, tmp_path):
    records = [
        with_costs(make, arm, 10.0, 10, validation, test)
        for arm, validation, test in (("a", 1.0, 9.0), ("b", 2.0, 1.0), ("c", 3.0, 2.0))
    ]
    assert chosen(make, tmp_path, records) == ["a"]


def test_a_higher_accuracy_is_better(make, tmp_path):
    task = {"name": "x", "metric": {"name": "accuracy", "unit": "%", "better": "higher"}}
    records = []
    for arm, accuracy in (("a", 90.0), ("b", 91.0), ("c", 92.0)):
        record = with_costs(make, arm, 10.0, 10, 0.0, task=task)
        record["metrics"] = {"val_accuracy_last": accuracy, "test_accuracy_last": accuracy}
        records.append(record)
    assert chosen(make, tmp_path, records) == ["c"]


@pytest.mark.parametrize("arms", [("a", "b"), ("a", "a", "a")])
def test_too_little_to_choose_from(make, tmp_path, arms):
    records = [
        with_costs(make, arm, 10.0 + i, 10, 2.0 - 0.1 * i, final=0.1 / (i + 1))
        for i, arm in enumerate(arms)
    ]
    assert chosen(make, tmp_path, records) is None


def test_arms_without_costs_or_validation_are_left_out(make, tmp_path):
    records = [with_costs(make, arm, 10.0, 10, 2.0) for arm in ("a", "b", "c", "d", "e")]
    del records[0]["cost"]["train_flops"], records[1]["metrics"]["val_error_last"]
    assert chosen(make, tmp_path, records) == ["c", "d", "e"]


@given(st.lists(st.tuples(*[st.floats(1, 10)] * 3), min_size=3, max_size=6))
def test_every_other_arm_is_surpassed_by_one_in_the_table(make, tmp_path_factory, points):
    records = [
        with_costs(make, f"a{i}", flops, nonzeros, error)
        for i, (flops, nonzeros, error) in enumerate(points)
    ]
    names = chosen(make, tmp_path_factory.mktemp("s"), records)
    inside = [points[int(name[1:])] for name in names]
    assert inside
    for point in points:
        assert point in inside or any(
            other[0] <= 1.01**6 * point[0]
            and other[1] <= 1.01**6 * point[1]
            and other[2] < point[2]
            for other in inside
        )


@pytest.mark.slow
def test_it_is_a_section_of_the_page(make, tmp_path):
    records = [make.record(arm, seed) for arm in ("dense", "gmp", "rigl") for seed in (0, 1)]
    page = report.render(read_runs([make.records(tmp_path / "s" / "records.jsonl", records)]))
    assert "Which method</h2>" in page and "Not surpassed at equal or lower cost" in page
