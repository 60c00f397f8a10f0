"""Searches in a report: best so far, fronts, drawings, the table."""

import io
import json

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from gpnas import report
from gpnas.report import _drawings, _labels, _searches, figures, summarise
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
    found = _searches.best_after("test", run, (0, 1, 39, 40, 100))
    assert found == [None, 8.0, 8.0, 7.0, 7.0]


@pytest.mark.slow
def test_page_and_table_show_searches(tmp_path):
    found = one(tmp_path)
    assert not summarise(found).groups and len(summarise(found).searches) == 2
    text = report.text_table(found)
    assert "a " in text and "7.00 (all equal)" in text and "5.00 pilot" in text
    names = [spec.name for spec in figures(summarise(found))]
    assert names == ["search_s", "found_s"]
    page = report.render(found)
    assert page.count("<svg") == 6 and "test by number of evaluations" in page
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
    limits = _searches.box(found.runs)
    shares = [_searches.hypervolume(limits, run, (0, 1, 2)) for run in found.runs]
    np.testing.assert_allclose(shares, [[0, 0, 0], [0, 0.25, 1]])
    names = [spec.name for spec in figures(summarise(found))]
    assert names == ["search_s", "fronts_s", "found_s"]
    assert "hypervolume by number of evaluations" in report.text_table(found)


def test_the_best_of_a_maximised_objective_is_the_highest(tmp_path):
    def trained(seed, accuracy):
        rows = [(9, {"accuracy": accuracy, "test": 2.0})]
        one = record("a", seed, rows, objectives=("accuracy",))
        return one | {"maximised": ["accuracy", "test"]}

    summary = summarise(loaded(tmp_path, trained(0, 91.0), trained(1, 93.0), trained(2, 92.0)))
    (found,) = _drawings.drawing_figures(summary)
    assert found.caption == "Best architecture of each strategy: highest accuracy over its seeds."
    assert found.panels[0].label.startswith("a: conv3")
    assert [ax.get_title(loc="left") for ax in drawn(found)] == ["a: 93"]
    (curves,), (table,) = _searches.search_curves(summary), _searches.search_tables(summary)
    assert "Selected by highest accuracy;" in curves.caption
    assert "Selected by highest accuracy;" in table.notes[0]


def test_an_edge_for_each_operation_but_none():
    graph = _drawings.cell_201_drawing(["conv3", "none", "skip", "conv1", "none", "pool3"])
    assert list(graph.edges) == [
        ("0", "1", "conv3"), ("1", "2", "skip"), ("0", "3", "conv1"), ("2", "3", "pool3"),
    ]  # fmt: skip


@pytest.mark.parametrize("count", [1, 4, 9])
def test_a_chain_has_an_edge_less_than_blocks(count):
    graph = _drawings.chain_drawing(["b"] * count)
    assert len(graph.nodes) == count and len(graph.edges) == count - 1
    assert len({node[:2] for node in graph.nodes.values()}) == count


def test_a_morphable_network_is_drawn_with_its_skips():
    layers = [[3, "conv", [0], 8, 3], [5, "conv", [3], 8, 5], [4, "add", [3, 5]],
              [6, "dense", [4], 20]]  # fmt: skip
    graph = _drawings.morphable_drawing([[8, 8, 1], [(*row, 0, 0)[:5] for row in layers], 10, 7])
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
        graph = _drawings.morphable_drawing(json.loads(json.dumps(architecture)))
        inputs = {(source, layer.id) for layer in architecture.layers for source in layer.inputs}
        assert len(graph.edges) + len(graph.bends) == len(inputs) + 1
        assert len(graph.nodes) == len(architecture.layers) + 2


def test_what_is_spent_may_be_counted_in_another_unit(tmp_path):
    rows = [(300.5, {"error": 9.0, "test": 8.0}), (1000, {"error": 4.0, "test": 7.0})]
    one = record("a", 0, rows) | {"unit": "epochs", "evaluations": 4000}
    found = loaded(tmp_path, one)
    assert _searches.search_unit(found.runs[0]) == "epochs"
    assert "test by number of epochs" in report.render(found)


def searched(count, metrics=("error", "test"), **changes):
    """A search of so many evaluations that got better at every third."""
    rows = [(i, dict.fromkeys(metrics, 9.0 - i / 100)) for i in range(1, count + 1, 3)]
    return record("search", 0, rows, **changes) | {"evaluations": count}


def drawn(spec):
    """Axes of a figure's panels, drawn as for a file."""
    axes = []
    for panel in [*spec.panels, *spec.narrow]:
        fig = Figure(figsize=(panel.width / 72, panel.height / 72), dpi=72)
        FigureCanvasAgg(fig)
        left, bottom, width, height = panel.place()
        size = (left / panel.width, bottom / panel.height)
        axes.append(fig.add_axes((*size, width / panel.width, height / panel.height)))
        panel.draw(axes[-1])
        fig.savefig(io.BytesIO(), format="svg")
    return axes


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 2, 3, 9, 10, 11, 60, 400])
def test_a_single_search_has_a_curve_and_a_label_at_its_end(tmp_path, count):
    found = loaded(tmp_path, searched(count))
    (spec,) = _searches.search_curves(summarise(found))
    for ax in drawn(spec):
        line = ax.lines[0]
        assert len(line.get_xdata()) > 1 or ax.lines[1].get_marker() == "o"
        assert np.isfinite(line.get_ydata()).all()
        (label,) = ax.texts
        end = ax.transData.transform((line.get_xdata()[-1], line.get_ydata()[-1]))
        np.testing.assert_allclose(label.xy, ax.transAxes.inverted().transform(end), atol=1e-6)
        assert min(label.xy) >= 0 and max(label.xy) <= 1.0001
        assert label.get_text() == "search" and ax.get_xlabel() == "evaluations"
        if count <= 50:
            assert ax.get_xscale() == "linear" and line.get_xdata()[0] == 1
            assert all(tick == round(tick) for tick in ax.get_xticks())


def test_labels_follow_limits_that_were_not_read_yet():
    fig = Figure(figsize=(4, 3), dpi=72)
    FigureCanvasAgg(fig)
    ax = fig.add_axes((0.1, 0.1, 0.5, 0.8))
    ax.plot([10, 20], [500, 700])
    _labels.place_labels(ax, [([(20, 700)], "a", "k")])
    low, high = ax.get_ylim()
    assert low < 500 and low < ax.texts[0].get_position()[1] < high
    before = ax.get_ylim()
    ax.plot([10], [9000])
    assert ax.get_ylim() == before


def test_two_settings_of_one_arm_are_two_lines(tmp_path):
    other = searched(60)
    other["config"] = other["config"] | {"strategy": {"name": "lanas"}}
    summary = summarise(loaded(tmp_path, searched(60), other))
    (spec,) = _searches.search_curves(summary)
    for ax in drawn(spec):
        assert len({text.get_text() for text in ax.texts}) == 2
        assert len({str(line.get_linestyle()) for line in ax.lines}) == 2


def test_a_shorter_search_has_no_value_after_its_end(tmp_path):
    short = searched(12)
    short["config"] = short["config"] | {"strategy": {"name": "lanas"}}
    summary = summarise(loaded(tmp_path, searched(60), short))
    (table,) = _searches.search_tables(summary)
    assert [column.label for column in table.columns] == [
        "strategy", "10", "20", "50", "60", "seeds", "seconds",
    ]  # fmt: skip
    texts = {row[0].text: [cell.text for cell in row[1:5]] for row in table.rows}
    assert sorted(t.count("–") for t in map(list, texts.values())) == [0, 3]


def test_searches_with_nothing_in_common_are_apart(tmp_path):
    two = ("error", "size")
    front = searched(20, two, objectives=two, reports=())
    macro = searched(20, space="nas_bench_macro")
    found = loaded(tmp_path, searched(20), front, macro)
    names = list(_searches.studies(summarise(found)))
    assert names == [
        "s: nas_bench_201, error", "s: nas_bench_201, error, size", "s: nas_bench_macro, error",
    ]  # fmt: skip
    page = report.render(found)
    assert all(f"Searches: {name}</h2>" in page for name in names)
    assert len(_searches.search_tables(summarise(found))) == 3
