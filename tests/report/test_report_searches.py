"""Searches in a report: best so far, fronts, drawings, the table."""

import json

import numpy as np
import pytest

from gpnas import report
from gpnas.report import drawings, searches
from gpnas.report.groups import summarise
from gpnas.report.page import figures
from gpnas.search.morphable import morphable


def record(arm, seed, course, objectives=("error",), reports=("test",), space="nas_bench_201"):
    front = [{"number": 0, "architecture": ["conv3"] * 5 + ["none"], "metrics": course[-1][1]}]
    return {
        "study": "s", "arm": arm, "seed": seed, "date": "2026-11-24T00:00:00+00:00",
        "config": {"space": space, "objectives": objectives, "reports": reports, "seed": seed},
        "evaluations": 100, "trials": 120, "front": front, "wall_s": 0.5,
        "course": [{"evaluation": at, "number": at, "metrics": m} for at, m in course],
    }  # fmt: skip


def loaded(folder, *records):
    path = folder / "records.jsonl"
    path.write_text("".join(json.dumps(r) + "\n" for r in records))
    return report.read_runs([path])


def one(folder, last=4.0):
    rows = [(1, {"error": 9.0, "test": 8.0}), (40, {"error": last, "test": 7.0})]
    other = [(2, {"error": 6.0, "test": 5.0})]
    return loaded(folder, record("a", 0, rows), record("a", 1, rows), record("b", 0, other))


def test_the_best_of_so_many_evaluations(tmp_path):
    run = one(tmp_path).runs[0]
    assert run.is_search
    assert [searches.best_after("test", run, count) for count in (0, 1, 39, 40, 100)] == [
        None, 8.0, 8.0, 7.0, 7.0,
    ]  # fmt: skip


def test_page_and_table_show_searches(tmp_path):
    found = one(tmp_path)
    assert not summarise(found).groups and len(summarise(found).searches) == 2
    text = report.text_table(found)
    assert "a " in text and "7.00 (all equal)" in text and "5.00 pilot" in text
    names = [spec.name for spec in figures(summarise(found))]
    assert names == ["search_s", "found_s"]
    page = report.render(found)
    assert page.count("<svg") == 6 and "test after so many evaluations" in page
    report.write(found, tmp_path / "r.html", figures_dir=tmp_path / "figures")
    assert (tmp_path / "figures" / "search_s.png").stat().st_size > 10_000


def test_studies_of_searches_have_headings_of_their_own(tmp_path):
    rows = [(1, {"error": 9.0, "test": 8.0})]
    found = loaded(tmp_path, record("a", 0, rows), record("a", 0, rows) | {"study": "other"})
    page = report.render(found)
    assert "Searches: s</h2>" in page and "Searches: other</h2>" in page


def test_several_objectives_have_a_hypervolume(tmp_path):
    corner = [(1, {"error": 0.0, "size": 1.0}), (3, {"error": 1.0, "size": 0.0})]
    better = [(1, {"error": 0.5, "size": 0.5}), (2, {"error": 0.0, "size": 0.0})]
    names = {"objectives": ("error", "size"), "reports": ()}
    found = loaded(tmp_path, record("a", 0, corner, **names), record("b", 0, better, **names))
    limits = searches.box(found.runs)
    shares = [[searches.hypervolume(run, n, limits) for n in (0, 1, 2)] for run in found.runs]
    np.testing.assert_allclose(shares, [[0, 0, 0], [0, 0.25, 1]])
    names = [spec.name for spec in figures(summarise(found))]
    assert names == ["search_s", "fronts_s", "found_s"]
    assert "hypervolume after so many evaluations" in report.text_table(found)


def test_an_edge_for_each_operation_but_none():
    graph = drawings.cell_201(["conv3", "none", "skip", "conv1", "none", "pool3"])
    assert list(graph.edges) == [
        ("0", "1", "conv3"), ("1", "2", "skip"), ("0", "3", "conv1"), ("2", "3", "pool3"),
    ]  # fmt: skip


@pytest.mark.parametrize("count", [1, 4, 9])
def test_a_chain_has_an_edge_less_than_blocks(count):
    graph = drawings.chain(["b"] * count)
    assert len(graph.nodes) == count and len(graph.edges) == count - 1
    assert len({node[:2] for node in graph.nodes.values()}) == count


def test_a_morphable_network_is_drawn_with_its_skips():
    layers = [[3, "conv", [0], 8, 3], [5, "conv", [3], 8, 5], [4, "add", [3, 5]],
              [6, "dense", [4], 20]]  # fmt: skip
    graph = drawings.morphable([[8, 8, 1], [(*row, 0, 0)[:5] for row in layers], 10, 7])
    texts = [text for _, _, text in graph.nodes.values()]
    assert texts == ["image 8×8×1", "conv 3×3, 8", "conv 5×5, 8", "add", "dense, 20", "10 classes"]
    assert [y for _, y, _ in graph.nodes.values()] == [-i for i in range(6)]
    drawn = {edge[:2] for edge in graph.edges}
    assert drawn == {("0", "3"), ("3", "5"), ("5", "4"), ("4", "6"), ("6", "-1")}
    assert [bend[:2] for bend in graph.bends] == [("3", "4")] and graph.bends[0][2] > 0


def test_every_layer_of_the_space_can_be_drawn():
    space, rng = morphable((12, 12, 1), 10), np.random.default_rng(0)
    for _ in range(20):
        architecture = space.sample(rng)
        for _ in range(5):
            architecture = space.mutate(architecture, rng)
        graph = drawings.morphable(json.loads(json.dumps(architecture)))
        inputs = {(source, layer.id) for layer in architecture.layers for source in layer.inputs}
        assert len(graph.edges) + len(graph.bends) == len(inputs) + 1
        assert len(graph.nodes) == len(architecture.layers) + 2


def test_what_is_spent_may_be_counted_in_another_unit(tmp_path):
    rows = [(300.5, {"error": 9.0, "test": 8.0}), (1000, {"error": 4.0, "test": 7.0})]
    one = record("a", 0, rows) | {"unit": "epochs", "evaluations": 4000}
    found = loaded(tmp_path, one)
    assert searches.unit(found.runs[0]) == "epochs"
    assert "test after so many epochs" in report.render(found)


def test_differences_are_paired_by_seed(tmp_path):
    def run(arm, seed, last):
        return record(
            arm, seed, [(1, {"error": 9.0, "test": 8.0}), (60, {"error": 1.0, "test": last})]
        )

    records = [run(arm, seed, 5.0 + seed - (arm == "b")) for arm in "ab" for seed in (3, 1, 2)]
    groups = summarise(loaded(tmp_path, *records)).searches
    table = searches.difference_table(groups, "a")
    assert [column.label for column in table.columns] == ["strategy", "10", "20", "50", "100"]
    row = [cell.text for cell in table.rows[0]]
    assert row == ["b", *["+0.00 (all equal)"] * 3, "-1.00 (all equal)"]
