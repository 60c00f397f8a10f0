"""Tables of studies of searches: differences between strategies are paired by seed."""

import json

import pytest
from ml_collections import ConfigDict

from experiments.studies.searches import search_difference_table, search_sections
from gpnas.errors import UserError
from gpnas.report import read_runs, summarise


def run(arm, seed, last, **config):
    course = [(1, {"error": 9.0, "test": 8.0}), (60, {"error": 1.0, "test": last})]
    return {
        "study": "s", "arm": arm, "seed": seed, "evaluations": 100,
        "config": {"objectives": ("error",), "reports": ("test",), "seed": seed} | config,
        "course": [{"evaluation": at, "metrics": metrics} for at, metrics in course],
    }  # fmt: skip


def test_differences_are_paired_by_seed(tmp_path):
    records = [run(arm, seed, 5.0 + seed - (arm == "b")) for arm in "ab" for seed in (3, 1, 2)]
    path = tmp_path / "records.jsonl"
    path.write_text("".join(json.dumps(one) + "\n" for one in records))
    table = search_difference_table(summarise(read_runs([path])).searches, "a")
    assert [column.label for column in table.columns] == ["strategy", "10", "20", "50", "100"]
    row = [cell.text for cell in table.rows[0]]
    assert row == ["b", *["+0.00 (all equal)"] * 3, "-1.00 (all equal)"]
    assert "below zero is better" in table.notes[0]
    path.write_text("".join(json.dumps(one | {"maximised": ["test"]}) + "\n" for one in records))
    table = search_difference_table(summarise(read_runs([path])).searches, "a")
    assert "above zero is better" in table.notes[0]


def test_tables_of_a_study_that_is_not_complete(tmp_path):
    config, path = ConfigDict({"study": "s"}), tmp_path / "s" / "records.jsonl"
    assert search_sections("a")(tmp_path, config)["s"].tables == ()
    path.parent.mkdir()
    path.write_text(json.dumps(run("b", 0, 5.0)) + "\n")
    assert len(search_sections("a")(tmp_path, config)["s"].tables) == 1


def test_two_generations_of_an_arm_are_refused(tmp_path):
    """The tables take an arm by its name: the second generation would replace the first."""
    path = tmp_path / "s" / "records.jsonl"
    path.parent.mkdir()
    for late in (8, 16):
        found = [run("a", 0, 5.0), run("b", 0, 4.0, cells=8), run("b", 1, 4.0, cells=late)]
        path.write_text("".join(json.dumps(one) + "\n" for one in found))
        if late == 8:
            search_sections("a")(tmp_path, ConfigDict({"study": "s"}))
    with pytest.raises(UserError, match=r"s, b, cells 8 and 16.*one config per arm"):
        search_sections("a")(tmp_path, ConfigDict({"study": "s"}))
