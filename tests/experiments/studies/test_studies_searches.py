"""Tables of studies of searches: differences between strategies are paired by seed."""

import json

from experiments.studies.searches import search_difference_table
from gpnas.report import read_runs, summarise


def test_differences_are_paired_by_seed(tmp_path):
    def run(arm, seed, last):
        course = [(1, {"error": 9.0, "test": 8.0}), (60, {"error": 1.0, "test": last})]
        return {
            "study": "s", "arm": arm, "seed": seed, "evaluations": 100,
            "config": {"objectives": ("error",), "reports": ("test",), "seed": seed},
            "course": [{"evaluation": at, "metrics": metrics} for at, metrics in course],
        }  # fmt: skip

    records = [run(arm, seed, 5.0 + seed - (arm == "b")) for arm in "ab" for seed in (3, 1, 2)]
    path = tmp_path / "records.jsonl"
    path.write_text("".join(json.dumps(one) + "\n" for one in records))
    table = search_difference_table(summarise(read_runs([path])).searches, "a")
    assert [column.label for column in table.columns] == ["strategy", "10", "20", "50", "100"]
    row = [cell.text for cell in table.rows[0]]
    assert row == ["b", *["+0.00 (all equal)"] * 3, "-1.00 (all equal)"]
