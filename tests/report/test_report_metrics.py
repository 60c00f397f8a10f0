"""Tables, figures and signs follow the metric of the task."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpnas import report
from gpnas.report import figures, read_runs, result_table, stats, summarise
from gpnas.report._metric import ERROR, TaskMetric, metric_of
from gpnas.report._results import difference_table

ACCURACY = TaskMetric("accuracy", "%", "higher")
RMSE = TaskMetric("rmse", "", "lower")


def of(make, metric, arm, seed, value, **changes):
    """A record whose metric has a value, at all its places."""
    own = {f"{x}_{metric.name}_{y}": value for x in ("test", "val") for y in ("last", "selected")}
    task = {"name": "own", "metric": metric._asdict()}
    record = make.record(arm, seed, every=2000, metrics=own, task=task, dataset="d", **changes)
    return record | {"config": record["config"] | {"task": metric.name}}


def records(make, metric, values):
    """Two seeds of each arm; `values` are those of seed 0."""
    return [
        of(make, metric, arm, seed, value + 0.01 * seed * (1 + value))
        for arm, value in values.items()
        for seed in (0, 1)
    ]


@pytest.fixture
def load(make, tmp_path):
    """Records of a metric as a report reads them."""

    def loaded(*parts):
        lines = [line for part in parts for line in part]
        return read_runs([make.records(tmp_path / "s" / "records.jsonl", lines)])

    return loaded


VALUES = {"dense": 90.0, "gmp": 80.0, "rigl": 95.0}


@pytest.mark.parametrize(
    ("metric", "order", "best"),
    [(ACCURACY, ["dense", "rigl", "gmp"], "highest"), (RMSE, ["dense", "gmp", "rigl"], "lowest")],
)
def test_the_best_comes_first(make, load, metric, order, best):
    loaded = load(records(make, metric, VALUES))
    assert [group.label for group in summarise(loaded).groups] == order
    table = result_table(summarise(loaded))
    labels = [column.label for column in table.columns]
    assert f"{metric.label} at last step" in labels and "error" not in " ".join(labels)
    assert f"the {best} validation {metric.name}" in table.notes[0]
    assert [row[4].order for row in table.rows] == pytest.approx(
        [VALUES[arm] + 0.005 * (1 + VALUES[arm]) for arm in order]
    )


@pytest.mark.slow
def test_figures_say_which_way_is_better(make, load):
    for metric, corner in ((ACCURACY, "Upper left"), (RMSE, "Lower left")):
        specs = {
            spec.name: spec for spec in figures(summarise(load(records(make, metric, VALUES))))
        }
        assert {f"{metric.name}_by_arm", f"{metric.name}_training_flops"} <= set(specs)
        cost = specs[f"{metric.name}_training_flops"]
        assert f"{corner} is better" in cost.caption
        assert f"rigl: 1 setting, {metric.best} mean {metric.name}" in cost.panels[0].label
        assert not any("error" in spec.heading + spec.caption for spec in specs.values())


def test_differences_name_the_metric(make, load):
    table = difference_table(summarise(load(records(make, ACCURACY, VALUES))))
    assert [row[4].text for row in table.rows] == ["higher accuracy", "lower accuracy"]
    assert [column.label for column in table.columns][2] == "last step, points"
    table = difference_table(summarise(load(records(make, RMSE, VALUES))))
    assert [column.label for column in table.columns][2] == "last step"
    assert table.rows[0][2].text == "−10.05 ± 0.64"


@pytest.mark.slow
def test_metrics_never_share_a_table_or_a_figure(make, load):
    loaded = load(*(records(make, metric, VALUES) for metric in (ACCURACY, RMSE, ERROR)))
    summary = summarise(loaded)
    assert [(name, part.metric) for name, part in summary.by_problem()] == [
        ("d (accuracy)", ACCURACY), ("d (error)", ERROR), ("d (rmse)", RMSE),
    ]  # fmt: skip
    assert len(summary.groups) == 9 and all(len(group.runs) == 2 for group in summary.groups)
    with pytest.raises(ValueError, match=r"not accuracy %, error %, rmse"):
        result_table(summary)
    page = report.render(loaded)
    for name in ("accuracy", "error", "rmse"):
        assert f"Results: d ({name})</h2>" in page
        assert f"Test {name} by arm: d ({name})</h2>" in page
    assert "The runs differ in data set or metric (d (accuracy), d (error), d (rmse))" in page
    text = report.text_table(loaded)
    assert text.count("Finished runs on d (") == 3


def test_unfinished_runs_show_their_own_metric(make, tmp_path):
    for metric in (ACCURACY, RMSE):
        record = of(make, metric, "gmp", 0, 3.0)
        record["metrics"]["val_error_last"] = 3.0  # conftest draws its log around this
        folder = make.workdir(tmp_path / metric.name, record, until=1700)
        lines = (folder / "metrics.jsonl").read_text().replace('"error"', f'"{metric.name}"')
        (folder / "metrics.jsonl").write_text(lines)
        known = json.loads((folder / "config.json").read_text()) | {"task": record["task"]}
        (folder / "config.json").write_text(json.dumps(known))
    text = report.text_table(read_runs([tmp_path]))
    assert "validation there" in text and "accuracy " in text and "rmse " in text


def test_records_without_a_task_are_of_classification():
    assert metric_of({"metrics": {}}) == ERROR == TaskMetric("error", "%", "lower")
    task = {"name": "regression", "metric": RMSE._asdict()}
    assert metric_of({"task": task}) == RMSE


@pytest.mark.parametrize(
    "task", [None, {}, {"metric": {}}, {"metric": {"name": "", "unit": "", "better": "lower"}},
             {"metric": {"name": "a", "unit": None, "better": "lower"}},
             {"metric": {"name": "a", "unit": "", "better": "more"}}],
)  # fmt: skip
def test_a_metric_that_cannot_be_read_is_reported(make, load, task):
    loaded = load([make.record() | {"task": task}])
    assert "s/records.jsonl:1: the record's metric cannot be read" in loaded.warnings[0]
    (group,) = summarise(loaded).groups
    assert group.mean("test_last") is None


@pytest.mark.parametrize(
    ("metric", "values", "text"),
    [
        (ERROR, [1.0, 1.1, 1.2], "1.10 ± 0.25"),
        (RMSE, [0.0123, 0.0125], "0.01240 ± 0.00127"),
        (RMSE, [0.98765], "0.9877"),
        (RMSE, [64.2, 64.4], "64.30 ± 1.27"),
        (RMSE, [12_092_778.2], "12,092,778"),
        (RMSE, [0.0, 0.0], "0.00 (all equal)"),
        (RMSE, [3e20], "3e+20"),
        (RMSE, [1e-12, 3e-12], "2e-12 ± 1.3e-11"),
        (RMSE, [], "–"),
    ],
)
def test_values_have_four_digits_but_percentages(metric, values, text):
    assert metric.interval(stats.estimate(values)) == text


@given(st.floats(1e-8, 1e14), st.sampled_from(["lower", "higher"]))
def test_a_value_as_text_is_that_value(value, better):
    metric = TaskMetric("m", "", better)
    shown = float(metric.text(value).replace(",", ""))
    assert math.isclose(shown, value, rel_tol=1e-3)
    assert (metric.rank(value) < metric.rank(value / 2)) == (better == "higher")
