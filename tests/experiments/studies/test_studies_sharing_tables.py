"""The tables of weight sharing: a panel a supernet, a row a search, nothing for single networks."""

import json

import pytest

from experiments.studies.sharing import tables as sharing
from gpnas import report
from gpnas.errors import UserError


def alone(name):
    return {"study": "s", "arm": name, "seed": 0, "part": "alone", "config": {},
            "architecture": [name], "errors": {"val_error": 20.0}}  # fmt: skip


def method(arm, seed, error, rank=None):
    own = {} if rank is None else {"rank": rank}
    return {"study": "s", "arm": arm, "seed": seed, "part": "method", "config": {"seed": seed},
            "architecture": ["skip"] * 6, "candidates": 8, "final_macs": 2_000_000,
            "cost": {"steps": 3300, "macs": 5e12},
            "errors": {"search_error": None, "val_error": error, "test_error": error + 1},
            "date": "2026-11-24T00:00:00+00:00"} | own  # fmt: skip


def test_table_and_figure():
    rank = {"tau": 0.5, "low": 0.25, "high": 0.75, "shared": [30.0, 25.0, 90.0],
            "alone": [20.0, 15.0, 89.7]}  # fmt: skip
    unclear = rank | {"tau": None, "low": None, "high": None}
    found = [
        alone("a"), alone("b"), method("random", 0, 14.0), method("random", 1, 16.0),
        method("weight sharing", 0, 12.0, rank), method("weight sharing", 1, 12.0, unclear),
    ]  # fmt: skip
    table = sharing.method_table("s", found)
    rows = [[cell.text for cell in row] for row in table.rows]
    assert [row[0] for row in rows] == ["weight sharing", "random"]  # the lowest error first
    assert rows[0][1:] == [
        "13.00 (all equal)",
        "12.00 (all equal)",
        "2 M",
        "8",
        "3.3 k",
        "5 T",
        "0.50",
        "2",
    ]
    assert rows[1][1].startswith("16.00 ± 12.7") and rows[1][7] == "–"
    [spec] = sharing.rank_figures("s", found)
    assert [panel.label for panel in spec.panels] == [
        "weight sharing, seed 0: τ 0.50 (0.25 to 0.75)", "weight sharing, seed 1",
    ]  # fmt: skip
    assert spec.name == "shared_s" and len(spec.file("svg")) > 5_000
    assert not sharing.rank_figures("s", found[:4])


def test_a_report_of_runs_leaves_these_records_out(tmp_path):
    path = tmp_path / "records.jsonl"
    path.write_text(json.dumps(method("random", 0, 14.0)) + "\n")
    with pytest.raises(UserError, match="not a record of a run; left out"):
        report.read_runs([path])
