"""The page: whole, small, safe, the same twice."""

import html.parser
import itertools
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpnas import report
from gpnas.report import Loaded, formatting, read_runs, result_table, summarise
from gpnas.report._confusion import confused_table, confusion_figure, mistake_cards
from gpnas.report._labels import spread_positions
from gpnas.report._page import figures
from gpnas.report._results import difference_table, time_table


class _Checker(html.parser.HTMLParser):
    """Collects ids, links and whether tags close in order."""

    _VOID = frozenset({"meta", "img", "source", "br", "link"})

    def __init__(self):
        super().__init__()
        self.open, self.ids, self.tags, self.refs = [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value)
            if name in ("src", "href", "srcset", "xlink:href", "data", "action"):
                self.refs.append(value)
        if tag not in self._VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in self._VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def _check(page: str) -> _Checker:
    checker = _Checker()
    checker.feed(page)
    assert not checker.open
    assert len(checker.ids) == len(set(checker.ids))
    assert {"link", "iframe", "object", "base", "form"}.isdisjoint(checker.tags)
    assert checker.tags.count("script") == 1
    assert all(ref.startswith(("#", "data:image/png;base64,")) for ref in checker.refs)
    for ref in checker.refs + [f"#{x}" for x in re.findall(r"url\(#([^)]+)\)", page)]:
        assert not ref.startswith("#") or ref[1:] in checker.ids
    assert not re.search(r"https?://|@import|url\((?!#)", page)
    return checker


@pytest.fixture(scope="module")
def page(study):
    return report.render(report.read_runs([study]), "A study")


@pytest.mark.slow
def test_the_page_is_whole_and_loads_nothing(page):
    checker = _check(page)
    for name in (
        *("results", "error_by_arm", "error_training_flops", "density", "growth_pruning"),
        *("density_layers", "validation_error", "receptive", "unfinished", "details"),
    ):
        assert name in checker.ids
    assert page.count('role="img"') == page.count("aria-label=") - page.count('role="region"') - 1
    assert "<title>A study</title>" in page


def test_tables_are_accessible(page):
    assert page.count("<table") == page.count("<caption>") > 4
    assert page.count('scope="row"') > 10


@pytest.mark.slow
def test_the_same_runs_give_the_same_bytes(study, page):
    assert report.render(report.read_runs([study]), "A study") == page


def test_colours_follow_the_page(page):
    body = page[page.index("<main>") :]
    assert not re.search(r'style="[^"]*#[0-9a-f]{6}', body)
    assert "var(--c1)" in body


def test_killed_runs_are_listed_and_do_not_count(study):
    loaded = report.read_runs([study])
    text = report.text_table(loaded)
    assert "unfinished at step 1,700 of 4,210" in text
    assert "unfinished at step 900 of 4,210" in text
    table = result_table(summarise(loaded))
    assert [row[1].text for row in table.rows] == ["3"] * 5


def test_the_time_of_runs_is_shared_by_what_they_did(make, tmp_path):
    parts = {"compiling": 2.0, "training": 7.5, "lost": 0.5, "goodput": 0.75}
    make.records(tmp_path / "s" / "records.jsonl", [make.record("gmp", 0, seconds=parts)])
    page = report.render(report.read_runs([tmp_path]))
    _check(page)
    assert "Where the time went" in page and "75.0 %" in page
    table = time_table(summarise(report.read_runs([tmp_path])))
    assert [cell.text for cell in table.rows[0][1:4]] == ["–", "2", "7.5"]


def test_only_killed_runs(make, tmp_path):
    make.workdir(tmp_path, make.record("gmp", 0), until=1700)
    make.workdir(tmp_path, make.record("rigl", 0), until=1)
    loaded = report.read_runs([tmp_path])
    page = report.render(loaded)
    checker = _check(page)
    assert "results" not in checker.ids
    assert "no step logged" in page
    assert "unfinished at step 1,700" in report.text_table(loaded)


def test_one_seed_is_a_pilot(make, tmp_path):
    path = make.records(tmp_path / "s" / "records.jsonl", [make.record("gmp", 0)])
    loaded = report.read_runs([path])
    assert "(1 seed)" in report.text_table(loaded)
    assert "±" not in report.text_table(loaded).splitlines()[2]
    assert "1 seed" in report.render(loaded)


def test_a_page_of_one_run_compares_nothing(make, tmp_path):
    make.workdir(tmp_path, make.record("gmp", 0))
    names = [spec.name for spec in figures(summarise(report.read_runs([tmp_path])))]
    assert names == ["validation_error", "density", "growth_pruning", "density_layers"]
    make.workdir(tmp_path, make.record("gmp", 1))
    names = [spec.name for spec in figures(summarise(report.read_runs([tmp_path])))]
    assert names[:2] == ["error_by_arm", "validation_error"]  # seeds, at one cost


@pytest.mark.parametrize("classes", [3, 40])
def test_confused_classes_of_one_run(make, tmp_path, classes):
    counts = (100 * np.eye(classes, dtype=int)).tolist()
    counts[2][1], counts[0][2] = 25, 1
    names = [f"<b>{i}" for i in range(classes)]
    record = make.record("gmp", 0, confusion=counts, class_names=names)
    path = make.records(tmp_path / "records.jsonl", [record])
    summary = summarise(report.read_runs([path]))
    table = confused_table(summary)
    assert [[cell.text for cell in row] for row in table.rows] == [
        ["<b>2", "<b>1", "25", "20.0 %"], ["<b>0", "<b>2", "1", "0.99 %"],
    ]  # fmt: skip
    page = report.render(report.read_runs([path]))
    assert "confusion" in _check(page).ids
    assert (">100</text>" in page) == (classes == 3)  # numbers, where there is room
    make.records(path, [make.record("gmp", seed, confusion=counts) for seed in (0, 1)])
    assert confused_table(summarise(report.read_runs([path]))) is None


def test_images_of_the_most_confused_classes(make, tmp_path):
    counts = [[9, 0, 1], [0, 9, 0], [0, 5, 9]]
    folder = make.workdir(
        tmp_path, make.record("gmp", 0, confusion=counts, class_names=["a", "b", "<c>"])
    )
    shown = mistake_cards(summarise(report.read_runs([folder])))
    assert [(card["name"], card["images"][0]["caption"]) for card in shown["cards"]] == [
        ("<c>, taken for b", "3 of 5 test images"), ("a, taken for <c>", "1 of 1 test images"),
    ]  # fmt: skip
    assert [(i["width"], i["height"]) for card in shown["cards"] for i in card["images"]] == [
        (48, 8), (48, 8),
    ]  # fmt: skip
    page = report.render(report.read_runs([folder]))
    _check(page)
    assert "&lt;c&gt;, taken for b" in page and "<c>" not in page


@pytest.mark.parametrize("counts", [[], {}, [[1]], [[1, 2]], [[1, 2], [3, -4]], [[1, 2], [3, 1.5]]])
def test_counts_that_are_none_are_left_out(make, tmp_path, counts):
    path = make.records(tmp_path / "records.jsonl", [make.record("gmp", 0, confusion=counts)])
    summary = summarise(report.read_runs([path]))
    assert confused_table(summary) is confusion_figure(summary) is None


def test_names_from_records_are_text(make, tmp_path):
    bad = "<script>alert(1)</script>\"'&$x_1$ `|*\n"
    records = [
        make.record(bad, seed, study="<b>s</b>", dataset="<i>", git="<u>") for seed in (0, 1)
    ]
    for record in records:
        record["config"]["model"] = "</title><script>"
        record["layers"][0]["path"] = "<img src=x>"
        for point in record["curve"]:
            point["layers"] = {"<svg onload=x>": {"density": 0.5}}
    make.workdir(tmp_path / "w", {**make.record("x", 0), "study": "<b>s</b>"}, until=900)
    path = make.records(tmp_path / "s" / "records.jsonl", records, "{")
    loaded = report.read_runs([path, tmp_path / "w"])
    page = report.render(loaded, "<script>x</script>")
    checker = _check(page)
    assert {"b", "i", "u"} & set(checker.tags) <= {"b", "i"}
    assert "<script>alert" not in page
    assert "onload=x>" not in page.replace("onload=x&gt;", "")
    row = report.markdown_table(loaded).splitlines()[2]
    assert row.count(" | ") == 10
    assert "<script>" not in row


@pytest.mark.slow
def test_a_sweep_of_hundreds_stays_small(make, tmp_path):
    records = [make.record("dense", seed, every=40) for seed in range(20)]
    records += [
        make.record(arm, seed, final, every=40)
        for arm in make.arms[1:]
        for final in (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4)
        for seed in range(21)
    ]
    assert len(records) > 600
    page = report.render(report.read_runs([make.records(tmp_path / "s" / "r.jsonl", records)]))
    assert "error_nonzeros" in _check(page).ids
    assert len(page.encode()) < 2_000_000


@pytest.mark.exhaustive
def test_hundreds_of_arms_stay_small(make, tmp_path):
    records = []
    for i in range(600):
        record = make.record(f"candidate_with_a_rather_long_name_{i}", 0, every=500)
        record["layers"] = [{**record["layers"][0], "path": f"layer_{k}"} for k in range(30)]
        record["curve"] = [
            {**p, "layers": {f"layer_{k}": {"density": p["density"]} for k in range(30)}}
            for p in record["curve"]
        ]
        records.append(record)
    page = report.render(report.read_runs([make.records(tmp_path / "s" / "r.jsonl", records)]))
    _check(page)
    assert len(page.encode()) < 2_000_000


@pytest.mark.parametrize(
    "record",
    [
        {"arm": "a", "metrics": {}},
        {"arm": "a", "metrics": {"test_error_last": float("nan")}, "cost": None, "curve": [{}]},
        {
            "arm": "a",
            "metrics": {"test_error_last": "1.2"},
            "layers": [{"shape": "x"}],
            "seed": "0",
        },
        {"arm": "a", "metrics": {"test_error_last": 0.0}, "cost": {"nonzeros": 0}, "seed": 0},
        {"arm": "dense", "metrics": {"test_error_last": 5}, "config": [], "layers": {}, "curve": 3},
        {
            "arm": "a",
            "metrics": {"test_error_last": 2.0},
            "cost": {"train_flops": 1, "train_flops_dense": 0, "density": True},
            "curve": [{"step": 0, "density": 0.0, "grown": 0, "pruned": 0}],
        },
    ],
)
def test_incomplete_records_do_not_stop_it(make, tmp_path, record):
    loaded = report.read_runs([make.records(tmp_path / "s" / "r.jsonl", [record])])
    _check(report.render(loaded))
    assert "1" in report.text_table(loaded)


def test_difference_to_dense_is_paired(make, tmp_path):
    records = [make.record(arm, seed) for arm in ("dense", "gmp") for seed in range(3)]
    for record in records:
        error = {"dense": (1.0, 5.0, 9.0), "gmp": (1.1, 5.2, 9.3)}[record["arm"]][record["seed"]]
        record["metrics"]["test_error_last"] = error
    path = make.records(tmp_path / "s" / "r.jsonl", records)
    (row,) = difference_table(summarise(read_runs([path]))).rows
    # Differences 0.1, 0.2, 0.3: mean 0.2, half width 4.303 * 0.1 / sqrt(3).
    assert row[2].text == "+0.20 ± 0.25"
    assert row[4].text == "no difference shown"


def test_an_empty_report_still_renders():
    _check(report.render(Loaded(()), "Nothing"))


def test_spread_keeps_distance_and_order():
    places = spread_positions([5, 5, 5, 40], 10, 0, 50)
    assert places == pytest.approx([0, 10, 20, 40])
    assert spread_positions([48, 49], 10, 0, 50) == pytest.approx([40, 50])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (formatting.count_text(5324.4), "5,324"),
        (formatting.percent_text(0.02), "2.00 %"),
        (formatting.percent_text(1.0), "100 %"),
        (formatting.si(1.23e12), "1.23 T"),
        (formatting.si(999_999.0), "1 M"),
        (formatting.si(2.5e30), "2.5e+30"),
        (formatting.significant(0.00501), "0.00501"),
        (formatting.digits(0.26), "0.26"),
        (formatting.few(12.0), "12"),
        (formatting.few(12.4), "12.4"),
        (formatting.count_text(None), "–"),
        (formatting.shorten("abcdefgh", 6), "abc…gh"),
    ],
)
def test_numbers_as_text(text, expected):
    assert text == expected


@given(st.lists(st.floats(0, 500), max_size=12))
def test_spread_is_in_order_and_within_bounds(wanted):
    places = spread_positions(wanted, 10, 0, 500)
    assert all(-1e-6 <= place <= 500 + 1e-6 for place in places)
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    ascending = [places[i] for i in order]
    assert all(b - a >= 10 - 1e-6 for a, b in itertools.pairwise(ascending))
    if all(wanted[b] - wanted[a] >= 10 for a, b in itertools.pairwise(order)):
        assert places == pytest.approx(wanted)


@pytest.mark.parametrize("units", [False, True])
def test_a_layer_without_active_weights_is_named(make, tmp_path, units):
    """Where units are pruned, whole blocks may be."""
    record = make.record("gmp", 0)
    record["layers"][1]["nonzeros"] = 0
    record["curve"][-1] |= {"units": {"conv1": 3}} if units else {}
    path = make.records(tmp_path / "s" / "records.jsonl", [record])
    warnings = report.summarise(report.read_runs([path])).warnings
    empty = [f"gmp: 1 run without an active weight in {record['layers'][1]['path']}."]
    assert [warning for warning in warnings if "active weight" in warning] == empty * (not units)
