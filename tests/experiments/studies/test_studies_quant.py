"""int8 weights by qwix: the page says what the records say."""

import pathlib

from experiments.studies.quant import table
from experiments.studies.study import fill
from gpnas.records import read_lines

ROOT = pathlib.Path(__file__).parents[3]


def test_the_page_is_that_of_the_records():
    found = read_lines(ROOT / "results" / "quant" / "records.jsonl")
    page = (ROOT / "docs" / "deploy.md").read_text()
    assert fill(page, "quant", [table(found)]) == page
    assert len(found) == 5
    for record in found:
        before, after = record["float32"], record["int8"]
        assert after["bytes"] < 0.4 * before["bytes"]
        assert abs(after["test_error"] - before["test_error"]) < 1.5 * 100 / 359
