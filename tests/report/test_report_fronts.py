"""Fronts of networks from one run: the table, the figures and the page, of made-up records."""

import copy
import json
from types import SimpleNamespace

import pytest

from gpnas import report
from gpnas.errors import UserError
from gpnas.report import _front_figures, _front_results

GROUPS = {"params/conv1/kernel:3": 16, "params/hidden/kernel:1": 64}
LEVELS = {0.5: (12, 40), 0.125: (5, 20)}
ERROR = {"name": "classification", "metric": {"name": "error", "unit": "%", "better": "lower"}}
R2 = {"name": "regression", "metric": {"name": "r2", "unit": "", "better": "higher"}}


def network(kind, level, seed, metric="error"):
    """An entry of front.json; uniform networks are two points worse."""
    worse = {"level": 0.0, "uniform": 2.0}[kind]
    return {
        "folder": f"{kind}-{level:g}", "level": level,
        "step": 600 if level == 0.5 else 1000,
        "macs": int(128_000 * level), "relative_macs": level, "params": int(20_000 * level),
        "units": dict(zip(GROUPS, LEVELS[level], strict=True)),
        f"test_{metric}": 4.0 + worse + 0.1 * seed, f"val_{metric}": 5.0,
        "train_flops": 2.5e9, "wall_s": 3.0,
    }  # fmt: skip


def content(seed=0, uniform=True, task=ERROR):
    """A front.json."""
    name = task["metric"]["name"]
    return {
        "config": {"seed": seed, "model": {"name": "convnet"}, "train": {"epochs": 20}},
        "task": task, "dataset": "digits", "seed": seed,
        "whole": {"macs": 128_000, "params": 20_000, "units": GROUPS},
        "widths": widths(),
        "networks": [network("level", level, seed, name) for level in LEVELS],
        "uniform": [network("uniform", level, seed, name) for level in LEVELS if uniform],
        "train_flops": 7e9, "train_flops_dense": 1e10, "wall_s": 200.0,
    }  # fmt: skip


def widths():
    """conv1 is pruned; hidden is pruned, grown by two units, and pruned again."""
    counts = ((100, 16, 64), (300, 14, 42), (400, 13, 44), (600, 12, 40), (1000, 5, 20))
    return [{"step": s, "units": dict(zip(GROUPS, units, strict=True))} for s, *units in counts]


def write(root, record, exported=True, ms=0.02):
    """Writes the folder of a front, as far as a report reads it; `ms`: of its small networks."""
    (root / "main").mkdir(parents=True)
    (root / "front.json").write_text(json.dumps(record))
    run = {"arm": "front", "metrics": {"test_error_last": 9.0}}
    (root / "main" / "record.json").write_text(json.dumps(run))
    folders = ["main", *(one["folder"] for one in record["networks"] + record["uniform"])]
    for folder in folders:
        export = root / folder / "export"
        export.mkdir(parents=True)
        (root / folder / "record.json").write_text(json.dumps(run))
        if exported:
            files = [{"file": "compact.onnx", "format": "onnx"}]
            (export / "export.json").write_text(json.dumps({"files": files}))
    if exported:
        lines = {
            folder: [
                {"batch": batch, "threads": 1, "ms": batch * (0.08 if folder == "main" else ms)}
                for batch in (1, 64)
            ]
            for folder in folders
        }
        (root / "latency.json").write_text(json.dumps({"format": "onnx", "networks": lines}))
    return root


def cells(table):
    return [[cell.whole.replace("\N{NO-BREAK SPACE}", " ") for cell in row] for row in table.rows]


def front_of(root):
    loaded = report.read_runs([root])
    (fronts,) = report.summarise(loaded).fronts
    return SimpleNamespace(loaded=loaded, fronts=fronts, table=_front_results.front_table(fronts))


def test_the_table_has_what_a_reader_chooses_by(tmp_path):
    table = front_of(write(tmp_path / "front", content())).table
    assert [column.label for column in table.columns] == [
        "network", "MACs", "of the whole", "parameters", "test error %", "validation error %",
        "ms, batch\xa01", "ms, batch\xa064", "widths", "training FLOPs", "files",
    ]  # fmt: skip
    whole, half, eighth, *uniform = cells(table)
    assert whole == [
        "whole network", "128,000", "100 %", "20,000", "–", "–", "0.080", "5.12", "16-64", "–", "–",
    ]  # fmt: skip
    assert half == [
        "found, 50 %", "64,000", "50.0 %", "10,000", "4.00", "5.00", "0.020 (4.00)",
        "1.28 (4.00)", "12-40", "2.5 G", "onnx",
    ]  # fmt: skip
    assert eighth[0] == "found, 12.5 %"
    assert [row[0] for row in uniform] == ["uniform, 50 %", "uniform, 12.5 %"]
    assert table.notes[:2] == [
        "Training these 2 networks took 0.70 times the FLOPs of one dense run of the whole network,"
        " as long as the main run (20 epochs), and 3\xa0min\xa020\xa0s.",
        "Training the uniform networks, each on its own, took 0.50 times the FLOPs of the dense"
        " run.",
    ]


def test_the_whole_network_has_the_error_of_a_network_with_all_units(tmp_path):
    own = content()
    own["networks"][0]["units"] = own["whole"]["units"]
    whole, half, *_ = cells(front_of(write(tmp_path / "front", own)).table)
    assert whole[4:6] == half[4:6] == ["4.00", "5.00"] and whole[-2] == "–"


@pytest.mark.parametrize(("ms", "slow"), [(0.02, False), (0.09, True)])
def test_a_small_network_that_is_slow_is_explained(tmp_path, ms, slow):
    notes = front_of(write(tmp_path / "front", content(), ms=ms)).table.notes
    assert any("method.round_to" in note for note in notes) == slow


def test_a_front_by_parameters_is_shown_against_parameters(tmp_path):
    record = content()
    record["config"]["front_by"] = "params"
    front = front_of(write(tmp_path / "front", record))
    assert [column.label for column in front.table.columns][1:4] == [
        "MACs", "parameters", "of the whole"
    ]  # fmt: skip
    assert cells(front.table)[1][1:4] == ["64,000", "10,000", "50.0 %"]
    first, _, other = report.figures(report.summarise(front.loaded))
    assert first.heading == "Error against parameters" and "network's parameters." in first.caption
    assert other.heading == "Error against MACs and latency"


def test_a_front_without_exports_has_neither_latency_nor_files(tmp_path):
    front = front_of(write(tmp_path / "front", content(uniform=False), exported=False))
    labels = [column.label for column in front.table.columns]
    assert not [label for label in labels if label.startswith("ms") or label == "files"]
    assert [row[0] for row in cells(front.table)] == ["whole network", "50 %", "12.5 %"]
    macs, _, costs = report.figures(report.summarise(front.loaded))
    assert len(costs.panels) == 1
    assert "uniform" not in macs.caption


def test_seeds_of_one_config_are_averaged_and_other_configs_are_not(tmp_path):
    for seed in range(3):
        own = content(seed)
        own["config"] |= {"resume": seed == 1}  # no effect on the results, nor has the next one
        own["config"]["train"] |= {"checkpoint_seconds": 15.0 + seed}
        write(tmp_path / f"seed{seed}", own)
    other = content()
    other["config"]["train"]["epochs"] = 40
    write(tmp_path / "long", other)
    loaded = report.read_runs([tmp_path])
    groups = report.summarise(loaded).fronts
    assert sorted(len(own) for own in groups) == [1, 3]
    three = next(own for own in groups if len(own) == 3)
    assert [front.record["seed"] for front in three] == [0, 1, 2]
    assert cells(_front_results.front_table(three))[1][4] == "4.10 ± 0.25"
    page = report.render(loaded)
    assert page.count("Error against MACs: ") == 2


def test_the_widths_of_each_network_stand_on_its_line(tmp_path):
    front = front_of(write(tmp_path / "front", content()))
    spec = next(s for s in report.figures(report.summarise(front.loaded)) if "widths" in s.name)
    told = "conv1: 16 → 12 → 5 units; hidden: 64 → 40 → 20 units."
    assert [panel.label for panel in (*spec.panels, *spec.narrow)] == [told, told]
    drawn = spec.panels[0].inline("x")
    for text in (
        "conv1",
        "16 units",
        "50\N{NO-BREAK SPACE}%",
        "12.5\N{NO-BREAK SPACE}%",
        ">12<",
        ">40<",
        ">5<",
        ">20<",
    ):
        assert text in drawn
    assert "var(--c3)" in drawn  # hidden grew from 42 to 44
    assert "Green" in spec.caption


@pytest.mark.parametrize(
    "group, name",
    [
        ("params/conv1/kernel:3", "conv1"),
        ("params/stage0_block0/conv1/kernel:3", "stage0_block0/conv1"),
        ("kernel:1", "kernel"),
    ],
)
def test_layers_have_short_names(group, name):
    assert _front_figures._short(group) == name


def test_a_metric_of_which_more_is_better(tmp_path):
    front = front_of(write(tmp_path / "front", content(task=R2)))
    assert front.table.columns[4].label == "test r2"
    macs = report.figures(report.summarise(front.loaded))[0]
    assert macs.heading == "R2 against MACs"
    assert "Upper left is better" in macs.caption


def test_the_page_links_to_files_from_where_it_lies(tmp_path):
    loaded = report.read_runs([write(tmp_path / "a front", content())])
    inside = report.write(loaded, tmp_path / "a front" / "front.html").read_text()
    assert 'href="level-0.5/export/compact.onnx"' in inside
    beside = report.write(loaded, tmp_path / "report.html").read_text()
    assert 'href="a%20front/level-0.5/export/compact.onnx"' in beside
    assert "One run, a front of networks: convnet on digits" in inside


def test_runs_of_a_front_are_not_among_other_runs(tmp_path, make):
    write(tmp_path / "front", content())
    make.workdir(tmp_path, make.record())
    loaded = report.read_runs([tmp_path])
    assert [run.arm for run in loaded.runs] == ["gmp"]
    assert len(loaded.fronts) == 1
    assert "Networks from one run" in report.text_table(loaded)


def test_a_damaged_front_is_reported(tmp_path, make):
    root = write(tmp_path / "front", content())
    (root / "front.json").write_text("{")
    with pytest.raises(UserError, match=r"front/front\.json: not a whole JSON object"):
        report.read_runs([root])
    make.workdir(tmp_path, make.record())
    assert "front/front.json" in report.read_runs([tmp_path]).warnings[0]


def paths(tree, prefix=()):
    inner = tree.items() if isinstance(tree, dict) else enumerate(tree)
    for key, value in inner:
        yield (*prefix, key)
        if isinstance(value, dict | list):
            yield from paths(value, (*prefix, key))


@pytest.mark.parametrize("junk", [None, "text", -1, [], {}, [None], float("inf")], ids=str)
def test_any_field_may_be_damaged(tmp_path, junk):
    root, whole = write(tmp_path / "front", content()), content()
    for path in paths(whole):
        record = copy.deepcopy(whole)
        place = record
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = junk
        (root / "front.json").write_text(json.dumps(record))
        try:
            loaded = report.read_runs([root])
        except UserError:
            continue
        assert report.text_table(loaded)
        report.figures(report.summarise(loaded))


@pytest.mark.parametrize(
    "seconds, text",
    [(0.42, "0.42 s"), (41.6, "42 s"), (60, "1 min"), (143, "2 min 23 s"), (7500, "2 h 5 min")],
)
def test_durations_for_people(seconds, text):
    assert _front_results.duration(seconds) == text.replace(" ", "\N{NO-BREAK SPACE}")


@pytest.mark.parametrize("digests", [("a", "b"), ("a", None)])
def test_fronts_on_different_data_are_not_averaged(tmp_path, digests):
    for seed, digest in enumerate(digests):
        write(tmp_path / f"seed{seed}", content(seed) | {"dataset_sha256": digest})
    assert [len(own) for own in report.summarise(report.read_runs([tmp_path])).fronts] == [1, 1]


def test_a_copy_of_a_front_is_no_further_seed(tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        write(tmp_path / name, content(seed))
    loaded = report.read_runs([tmp_path])
    ((first, second),) = report.summarise(loaded).fronts
    assert (first.record["seed"], second.record["seed"]) == (0, 1) and not loaded.warnings
    write(tmp_path / "d", content(1) | {"wall_s": 1.0})
    loaded = report.read_runs([tmp_path])
    assert len(loaded.fronts) == 2
    assert loaded.warnings == ("d: another front with the same config and seed; left out c.",)
