"""Runs side by side in the page: the data that the page's script draws, and their table."""

import html
import json
import re

import pytest

from gpnas import report

MOST_BYTES = 2_000_000  # of a page


def _data(page):
    found = re.findall(r'class="compare" data-runs="([^"]*)"', page)
    return [json.loads(html.unescape(one)) for one in found]


def _rows(page):
    section = page.partition('<section id="runs">')[2].partition("</section>")[0]
    body = section.partition("<tbody>")[2].partition("</tbody>")[0]
    return [re.sub(r"<[^>]+>", " ", row).split() for row in body.split("</tr>") if row.strip()]


def test_the_curves_of_each_finished_run_are_there_in_the_order_of_the_table(make, tmp_path):
    runs = [make.record(arm, seed) for arm in ("dense", "gmp") for seed in (0, 1)]
    page = report.render(report.read_runs([make.records(tmp_path / "records.jsonl", runs)]))
    (data,) = _data(page)
    assert data["axes"] == ["Density, %"]
    assert [(run["arm"], run["seed"]) for run in data["runs"]] == [
        ("dense", "0"), ("dense", "1"), ("gmp", "0"), ("gmp", "1"),
    ]  # fmt: skip
    assert [row[:2] for row in _rows(page)] == [[run["arm"], run["seed"]] for run in data["runs"]]
    for run, made in zip(data["runs"], runs, strict=True):
        ((number, values),) = run["curves"]
        steps = data["steps"][number]
        assert len(steps) == len(values) <= 50
        assert steps == sorted(steps) and steps[-1] == made["curve"][-1]["step"]
        assert values[-1] == pytest.approx(100 * made["curve"][-1]["density"], rel=1e-3)


@pytest.mark.slow
def test_hundreds_of_runs_keep_the_page_small(make, tmp_path):
    runs = [make.record(arm, seed) for arm in ("dense", "gmp", "rigl") for seed in range(110)]
    page = report.render(report.read_runs([make.records(tmp_path / "records.jsonl", runs)]))
    (data,) = _data(page)
    assert {run["arm"] for run in data["runs"]} == {"dense", "gmp", "rigl"}
    assert len(data["runs"]) == 200 and "130 more runs are not shown." in page
    assert len(page.encode()) < MOST_BYTES


@pytest.mark.slow
def test_validation_is_compared_where_runs_logged_it(study):
    (data,) = _data(report.render(report.read_runs([study])))
    assert data["axes"] == ["Validation error, %", "Density, %"]
    assert all(len(run["curves"]) == 2 for run in data["runs"])


def test_one_run_is_compared_with_nothing(make, tmp_path):
    path = make.records(tmp_path / "records.jsonl", [make.record("gmp", 0)])
    assert not _data(report.render(report.read_runs([path])))
