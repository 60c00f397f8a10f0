"""Runs on several data sets or metrics: never averaged, joined by a line, ranked or compared."""

import pytest

from gpnas import report
from gpnas.report import Run, figures, read_runs, summarise
from gpnas.report._metric import TaskMetric
from gpnas.report._problems import name_problems


def on(make, data, digest, arm="gmp", seed=0, added=0.0, **changes):
    record = make.record(arm, seed, every=2000, dataset=data, dataset_sha256=digest, **changes)
    errors = {name: value + added for name, value in record["metrics"].items()}
    config = record["config"] | {"data": {"name": data}}
    return record | {"config": config, "metrics": errors}


@pytest.fixture(scope="module")
def two(make, tmp_path_factory):
    records = [
        on(make, data, digest, arm, seed, added)
        for data, digest, added in (("mnist", "ab" * 32, 0), ("fashion_mnist", "cd" * 32, 8))
        for arm in ("dense", "gmp")
        for seed in (0, 1)
    ]
    return read_runs([make.records(tmp_path_factory.mktemp("s") / "records.jsonl", records)])


@pytest.mark.slow
def test_each_has_its_own_tables_and_figures(two):
    parts = dict(summarise(two).by_problem())
    assert list(parts) == ["fashion_mnist", "mnist"]
    assert [[g.label for g in part.groups] for part in parts.values()] == [["dense", "gmp"]] * 2
    assert all(len(group.runs) == 2 for part in parts.values() for group in part.groups)
    names = {spec.name for spec in figures(summarise(two))}
    for data in parts:
        assert {f"error_by_arm_{data}", f"error_training_flops_{data}"} <= names
    page = report.render(two)
    assert "The runs are on 2 data sets (fashion_mnist, mnist)" in page
    assert "Results: mnist</h2>" in page and "Test error by arm: fashion_mnist</h2>" in page
    assert page.count("Difference from dense, seed by seed</span>") == 2
    for text in (report.text_table(two), report.markdown_table(two)):
        assert text.index("Finished runs on fashion") < text.index("Finished runs on mnist")


def test_arms_on_several_name_the_data_set(two):
    labels = [series.label for series in summarise(two).series]
    assert labels == [
        f"{arm} on {data}" for data in ("fashion_mnist", "mnist") for arm in ("dense", "gmp")
    ]
    looks = [(series.colour, series.turn) for series in summarise(two).series]
    assert len(set(looks)) == 4


def test_versions_of_one_name_are_two_data_sets(make, tmp_path):
    records = [on(make, "mnist", digest * 32) for digest in ("ab", "cd")]
    path = make.records(tmp_path / "s" / "records.jsonl", records)
    loaded = read_runs([path])
    assert len(loaded.runs) == 2 and not loaded.warnings
    assert [name for name, _ in summarise(loaded).by_problem()] == [
        "mnist abababab",
        "mnist cdcdcdcd",
    ]


def test_one_data_set_is_not_named(make, tmp_path):
    records = [on(make, "mnist", "ab" * 32), on(make, "mnist", "", seed=1)]
    summary = summarise(read_runs([make.records(tmp_path / "s" / "records.jsonl", records)]))
    (group,) = summary.groups
    assert group.label == "gmp" and len(group.runs) == 2 and not summary.warnings


def test_an_unfinished_run_knows_its_data_and_lost_configs_count_for_none(make, tmp_path):
    make.workdir(tmp_path / "a", on(make, "mnist", "ab" * 32))
    folder = make.workdir(tmp_path / "b", on(make, "digits", "cd" * 32), until=2000)
    summary = summarise(read_runs([tmp_path]))
    assert {series.label for series in summary.series} == {"gmp on mnist", "gmp on digits"}
    assert [name for name, _ in summary.by_problem()] == [""]
    (folder / "config.json").write_text("{")
    summary = summarise(read_runs([tmp_path]))
    assert all(not series.problem for series in summary.series)


def test_names_of_data_sets():
    assert _names(_run("a", "1"), _run("a", "")) == ["", ""]
    assert _names(_run("a", "1"), _run("", "")) == ["a", "unknown data"]
    assert _names(_run("a", "1"), _run("", "", finished=False)) == ["", ""]
    three = _names(_run("a", "1" * 64), _run("a", "2" * 64), _run("a", ""))
    assert three == ["a 11111111", "a 22222222", "a unknown"]


def test_a_metric_is_named_where_a_data_set_has_several():
    accuracy = TaskMetric("accuracy", "%", "higher")
    assert _names(_run("a"), _run("b", metric=accuracy)) == ["a", "b"]
    assert _names(_run("a"), _run("a", metric=accuracy)) == ["a (error)", "a (accuracy)"]
    assert _names(_run("a"), _run("a", metric=TaskMetric("error", ""))) == [
        "a (error %)",
        "a (error)",
    ]
    gain = TaskMetric("error", "%", "higher")
    assert _names(_run("a"), _run("a", metric=gain)) == [
        "a (error %, lower is better)", "a (error %, higher is better)",
    ]  # fmt: skip


def _run(name, digest="", finished=True, **fields):
    record = {} if finished else None
    return Run("r", "s", "a", 0, {}, record=record, data=(name, digest), **fields)


def _names(*runs):
    return list(name_problems(runs).values())
