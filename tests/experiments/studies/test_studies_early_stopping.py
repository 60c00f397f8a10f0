"""Early stopping on a table: what it costs, and what is told of it."""

import json

import pytest

from experiments.studies.early_stopping import config
from experiments.studies.early_stopping.run import by_budget, early_stopping
from gpnas.errors import UserError
from gpnas.search import Trial, load_table

CONV = ("conv3",) * 6
COLUMNS = {12: "cifar10_validation_12", 200: "cifar10_test_200"}


def small(**fields):
    made = config.get_config()
    made.update({"epochs": 2000, "seeds": 2} | fields)
    return made


def test_each_budget_has_a_column_of_its_own():
    table = load_table("nas_bench_201")
    evaluate = by_budget(table, COLUMNS)
    row = table.look_up(CONV)
    for budget, name in ((12, COLUMNS[12]), (200, COLUMNS[200]), (0, COLUMNS[200])):
        assert evaluate(Trial(0, CONV, budget=budget)) == {"error": row[name]}


@pytest.mark.slow
def test_a_record_a_search_whose_course_falls_and_is_paid_for(tmp_path):
    path = early_stopping(small(), str(tmp_path))
    first = path.read_text()
    records = [json.loads(line) for line in first.splitlines()]
    assert len(records) == 2 * len(small().arms)
    table = load_table("nas_bench_201")
    for record in records:
        course = [(e["evaluation"], e["metrics"][COLUMNS[200]]) for e in record["course"]]
        assert [error for _, error in course] == sorted((e for _, e in course), reverse=True)
        assert all(200 <= spent <= 2000 for spent, _ in course)
        found = table.look_up(tuple(record["front"][0]["architecture"]))
        assert found[COLUMNS[200]] == course[-1][1]
        if record["arm"] == "random":  # eight at a time, each 200 epochs, idle at the end
            assert record["trials"] == record["full_trials"] == 2000 // 200 // 8 * 8
        else:
            cheap = record["trials"] - record["full_trials"]
            assert 12 * cheap + 200 * record["full_trials"] <= 2000 and cheap > 0
    assert early_stopping(small(), str(tmp_path)).read_text() == first


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"columns": ("cifar10_validation_12", "fame")}, "columns: got 'fame', allowed: cifar10"),
        ({"columns": ("cifar10_test_200",)}, "columns: got"),
        ({"epochs": 100}, "epochs: got 100, allowed: 200 or more"),
        ({"workers": 0}, "workers: got 0"),
    ],
)
def test_settings_that_cannot_be(tmp_path, fields, said):
    with pytest.raises(UserError, match=said):
        early_stopping(small(**fields), str(tmp_path / "none"))
    assert not (tmp_path / "none").exists()
