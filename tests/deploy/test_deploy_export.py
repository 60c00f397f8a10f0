"""A finished run is exported whole, or not at all."""

import json
import shutil
import sys

import numpy as np
import pytest

from gpnas import deploy
from gpnas.deploy import export, predict
from gpnas.errors import UserError
from gpnas.report import export_table
from gpnas.train import base, load_run, train
from tests.cases import some


def formats_here():
    """Those of which the packages are installed."""
    found = []
    for name in deploy.EXTRAS:
        try:
            deploy.require_formats([name])
            found.append(name)
        except UserError:
            continue
    return found


def copy(run, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    return folder


@pytest.mark.slow
def test_a_folder_of_someone_elses_is_left_alone(run, tmp_path):
    folder = copy(run, tmp_path)
    (folder / "export").mkdir()
    (folder / "export" / "compact.json").write_text("mine")
    with pytest.raises(UserError, match="a folder export that an export made, or none"):
        export.export_run(folder, ["stablehlo"], seconds=0)
    assert (folder / "export" / "compact.json").read_text() == "mine"


@pytest.mark.slow
@pytest.mark.parametrize("network", ["selected", "last"])
def test_what_is_written(run, tmp_path, network):
    folder, names = copy(run, tmp_path), formats_here()
    report = export.export_run(folder, names, network, int8="onnx" in names, seconds=0)
    assert json.loads((folder / "export" / "export.json").read_text()) == report
    written = {path.name for path in (folder / "export").iterdir()} - {"export.json"}
    files = [file for row in report["files"] for file in row["sha256"]]
    side = {f"{row['file']}.json" for row in report["files"] if row["format"] != "safetensors"}
    assert written == {*files} | side
    assert report["class_names"] == [str(digit) for digit in range(10)]
    assert not list(folder.glob(".export-*"))

    record = json.loads((folder / "record.json").read_text())
    assert record["class_names"] == report["class_names"]
    for row in report["files"]:
        if "int8" not in row["format"]:
            assert row["max_difference"] <= 1e-4
            assert row["test_error"] == pytest.approx(record["metrics"][f"test_error_{network}"])
    compact, dense = (report["networks"][name] for name in ("compact", "dense"))
    assert compact["params"] < dense["params"] and compact["macs"] < dense["macs"]
    sizes = {(row["network"], row["format"]): row["bytes"] for row in report["files"]}
    assert all(sizes["compact", name] < sizes["dense", name] for name in names)


@pytest.mark.slow
def test_rounding_errors_of_large_logits_are_no_fault(run, tmp_path, monkeypatch):
    """The logits are those of the run times 10⁵, and so are rounding errors."""
    folder, found = copy(run, tmp_path), load_run(run, "last")
    last = found.variables["params"]["Dense_2"]
    last |= {name: 1e5 * leaf for name, leaf in last.items()}
    monkeypatch.setattr(export, "load_run", lambda *arguments: found)
    report = export.export_run(folder, ["stablehlo"], "last", seconds=0)
    assert report["removal_difference"] > export.TOLERANCE


@pytest.mark.slow
def test_paths_are_text_as_well(run, tmp_path):
    folder = str(copy(run, tmp_path))
    assert load_run(folder).record["arm"] == "gmp"
    export.export_run(folder, ["stablehlo"], seconds=0, parts=("compact",))
    file, image = f"{folder}/export/compact.stablehlo", np.zeros((1, 8, 8, 1), np.float32)
    runs = [predict.from_run(folder).run, predict.from_file(file).run, deploy.load_exported(file)]
    first, *others = [one(image) for one in runs]
    for other in others:
        np.testing.assert_allclose(other, first, atol=1e-4)


_TASKS = """
import jax.numpy as jnp

from gpnas.models import Model
from gpnas.train import Metric, Task, classification


def accuracy(model: Model) -> Task:
    task = classification(model)

    def metrics(variables, batch):
        found = task.metrics(variables, batch)
        return {"loss": found["loss"], "accuracy": 1.0 - found["error"]}

    def loss(variables, batch, key):
        value, aux = task.loss(variables, batch, key)
        return value, aux._replace(metrics={"accuracy": 1.0 - aux.metrics["error"]})

    metric = Metric("accuracy", "%", "higher", value=lambda mean: round(100 * mean, 4))
    return task._replace(loss=loss, metrics=metrics, metric=metric)


def shifted(model: Model) -> Task:
    task = accuracy(model)

    def metrics(variables, batch):
        return task.metrics(variables, (jnp.roll(batch[0], 1, 2), batch[1]))

    return task._replace(metrics=metrics)
"""


_NETWORK = """
import flax.linen as nn


class Net(nn.Module):
    num_classes: int

    @nn.compact
    def __call__(self, x):
        return nn.Dense(self.num_classes)(x.reshape(len(x), -1))
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """`name of a task → folder of a run of it`."""
    (tmp_path / "gpnas_export_tasks.py").write_text(_TASKS)
    (tmp_path / "gpnas_export_net.py").write_text(_NETWORK)
    monkeypatch.syspath_prepend(tmp_path)

    def make(name, network=""):
        config = base()
        config.data.name, config.data.cache_dir = "digits", str(tmp_path / "cache")
        config.model.widths, config.task.name = (16, 8), f"gpnas_export_tasks:{name}"
        config.train.epochs, config.train.batch_size, config.train.tensorboard = 1, 64, False
        if network:
            del config.model.widths
            config.model.name = f"gpnas_export_net:{network}"
        train(config, tmp_path / name)
        return tmp_path / name

    yield make
    for name in ("gpnas_export_tasks", "gpnas_export_net"):
        sys.modules.pop(name, None)


@pytest.mark.slow
def test_files_have_the_metric_of_the_task(own):
    folder = own("accuracy")
    record = json.loads((folder / "record.json").read_text())
    report = export.export_run(folder, ["stablehlo"], seconds=0)
    expected = record["metrics"]["test_accuracy_selected"]
    assert expected > 20 and report["test_accuracy"] == expected
    assert [row["test_accuracy"] for row in report["files"]] == pytest.approx([expected] * 2)
    assert report["task"]["metric"] == record["task"]["metric"]
    table = export_table(report)
    assert [column.label for column in table.columns][4] == "test accuracy %"
    assert {row[4].text for row in table.rows} == {f"{expected:.2f}"}


@pytest.mark.slow
def test_formats_by_default_are_those_of_the_network(own, run, tmp_path):
    report = export.export_run(own("accuracy", "Net"), seconds=0)
    assert {row["format"] for row in report["files"]} == {"stablehlo"}
    if "safetensors" in formats_here():
        report = export.export_run(copy(run, tmp_path), seconds=0)
        assert {row["format"] for row in report["files"]} == {"stablehlo", "safetensors"}


@pytest.mark.slow
def test_a_metric_of_more_than_outputs_cannot_be_that_of_a_file(own):
    folder = own("shifted")
    with pytest.raises(UserError, match=r"task\.name: got 'gpnas_export_tasks:shifted'.*outputs"):
        export.export_run(folder, ["stablehlo"], seconds=0)
    assert not list(folder.glob("*export*"))


@pytest.mark.slow
def test_latency_is_taken(run, tmp_path, monkeypatch):
    monkeypatch.setattr(export, "THREADS", (1,))
    folder = copy(run, tmp_path)
    report = export.export_run(folder, ["stablehlo"], seconds=1e-3)
    compact, dense = (row["latency"] for row in report["files"])
    assert [(one["batch"], one["threads"]) for one in compact] == [(1, 1), (64, 1)]
    assert all(one["ms"] > 0 for one in compact)
    assert all(one["speedup"] == 1 for one in dense)


@pytest.mark.parametrize(
    "settings, error",
    [
        ({"names": []}, "formats: got ''"),
        ({"names": ["pdf"]}, "formats: got 'pdf', allowed: onnx"),
        ({"names": ["stablehlo"], "network": "best"}, "network: got 'best', allowed: selected"),
        ({"names": ["stablehlo"], "parts": ()}, "parts: got '', allowed: compact, dense"),
        ({"names": ["stablehlo"], "parts": ["all"]}, "parts: got 'all', allowed: compact, dense"),
        ({"names": ["stablehlo"], "int8": True}, "int8: got True"),
        ({"names": ["stablehlo"], "opset": 21}, "opset: got 21, allowed: only with onnx"),
    ],
)
def test_mistakes(run, settings, error):
    before = sorted(run.rglob("*"))
    with pytest.raises(UserError, match=error):
        export.export_run(run, seconds=0, **settings)
    assert sorted(run.rglob("*")) == before


@pytest.mark.parametrize("lost", ["record.json", "checkpoints"])
def test_a_folder_that_is_no_finished_run(run, tmp_path, lost):
    folder = copy(run, tmp_path)
    path = folder / lost
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(UserError, match="workdir: got"):
        export.export_run(folder, ["stablehlo"], seconds=0)
    assert not list(folder.glob("*export*"))


def test_other_images_are_noticed(run, tmp_path):
    folder = copy(run, tmp_path)
    record = json.loads((folder / "record.json").read_text())
    del record["digest"]
    (folder / "record.json").write_text(json.dumps(record | {"dataset_sha256": "0"}))
    with pytest.raises(UserError, match="data: got .* the run's data"):
        load_run(folder)


@pytest.mark.parametrize("apart", [1.01, np.nan])
def test_a_file_that_computes_something_else_stops_it(run, tmp_path, monkeypatch, apart):
    folder, found = copy(run, tmp_path), load_run(run)
    images = np.asarray(found.data.validation.inputs[:64], np.float32)
    bound = export.TOLERANCE * np.abs(predict.from_run(run).run(images)).max()
    monkeypatch.setattr(export, "max_difference", lambda *_: apart * bound)
    with pytest.raises(RuntimeError, match="compact.stablehlo differs from JAX"):
        export.export_run(folder, ["stablehlo"], seconds=0)
    assert not list(folder.glob("*export*"))


def test_speed_up():
    found = deploy.speedup({"a": [2.0, 4.0, 9.0], "b": [1.0, 1.0, 3.0]}, "a", "b")
    assert found == {"best": 2.0, "paired": 3.0}


@pytest.mark.slow
@pytest.mark.parametrize(("before", "room"), some([(False, 0), (True, 1000)], [(True, 1000)]))
def test_a_full_disk_leaves_the_folder_as_it_was(run, tmp_path, no_room, before, room):
    folder = copy(run, tmp_path)
    if before:
        export.export_run(folder, ["stablehlo"], "last", seconds=0)
    there = {path: path.is_file() and path.read_bytes() for path in folder.rglob("*")}
    with no_room(room), pytest.raises(OSError, match="File too large: '.*/run/export'"):
        export.export_run(folder, ["stablehlo"], seconds=0)
    assert {path: path.is_file() and path.read_bytes() for path in folder.rglob("*")} == there
    report = export.export_run(folder, ["stablehlo"], seconds=0)
    assert json.loads((folder / "export" / "export.json").read_text()) == report
