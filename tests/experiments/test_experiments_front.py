"""The command line of a front, as a user calls it."""

import json
import re

import pytest

from gpnas import commandline
from gpnas.errors import UserError
from gpnas.train import base, front_config

SMALL = (
    "--config.data.name=digits", "--config.train.epochs=2", "--config.branch_epochs=1",
    "--config.train.tensorboard=False", "--config.front=(0.5,)", "--config.model.name=lenet300",
    "--config.model.widths=(32,16)", "--config.elastic_round_to=16", "--config.method.every=3",
    "--config.method.window=2",
)  # fmt: skip


@pytest.fixture
def front(python):
    """`(config, *flags) → finished process` of experiments/front.py."""

    def call(config, *arguments):
        return python("experiments/front.py", f"--config=configs/{config}.py", *arguments)

    return call


@pytest.mark.slow
def test_a_front_is_trained_exported_and_reported(front, tmp_path):
    folder = tmp_path / "run"
    call = (*SMALL, f"--workdir={folder}", "--formats=safetensors", "--seconds=0.01")
    done = front("front", *call)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Networks from one run: lenet300 on digits")
    shown = re.findall(r"^front (\d+)/(\d+) (\S+) ", done.stderr, re.MULTILINE)
    steps, totals = ([int(line[i]) for line in shown] for i in (0, 1))
    assert list(dict.fromkeys(line[2] for line in shown)) == ["main", "level-0.5"]
    assert steps == sorted(steps) and {steps[-1]} == set(totals)  # one count for all runs
    assert done.stdout.splitlines()[-1] == f"{folder}/front.html"
    names = {path.name for path in folder.iterdir()}
    assert names == {
        ".lock", "front.html", "front.json", "latency.json", "level-0.5", "main", "settings.json",
    }  # fmt: skip
    exported = {path.name for path in (folder / "level-0.5" / "export").iterdir()}
    assert exported == {"compact.json", "compact.safetensors", "export.json"}
    assert {path.name for path in (folder / "main" / "export").iterdir()} == {
        "dense.json", "dense.safetensors", "export.json",
    }  # fmt: skip
    measured = json.loads((folder / "latency.json").read_text())["networks"]
    assert set(measured) == {"main", "level-0.5"}
    at = [(line["batch"], line["threads"]) for line in measured["level-0.5"]]
    assert at == [(1, 1), (64, 1), (1, 2), (64, 2)]
    assert 'href="level-0.5/export/compact.safetensors"' not in (folder / "front.html").read_text()
    assert 'href="level-0.5/export/compact.json"' in (folder / "front.html").read_text()

    made = [*folder.glob("*/export/*"), folder / "latency.json"]
    times = [path.stat().st_mtime_ns for path in made]
    again = front("front", *call, "--config.resume=True")
    assert again.returncode == 0, again.stderr
    assert [path.stat().st_mtime_ns for path in made] == times
    about = folder / "level-0.5" / "export" / "export.json"  # as if the best network was exported
    about.write_text(json.dumps(json.loads(about.read_text()) | {"network": "selected"}))
    again = front("front", *call, "--config.resume=True")
    assert json.loads(about.read_text())["network"] == "last", again.stderr
    (about.parent / "compact.json").unlink()
    again = front("front", *call, "--config.resume=True")
    assert again.returncode == 0 and (about.parent / "compact.json").exists(), again.stderr


@pytest.mark.slow
def test_a_format_that_there_is_not_is_told_before_training(front, tmp_path):
    flags = ("--config.data.name=digits", "--formats=wav", f"--workdir={tmp_path / 'run'}")
    done = front("front", *flags)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("formats: got 'wav', allowed: ")
    assert (done.stderr.count("\n"), done.stdout) == (1, "")
    assert not list(tmp_path.iterdir())


def test_each_command_takes_configs_of_its_kind():
    commandline.check_kind(front_config(), "front")
    commandline.check_kind(base(), "train")
    for config, command, told in (
        (base(), "front", "without front, front_by, branch_epochs.*command train takes this one"),
        (front_config(), "train", "with branch_epochs, front, front_by.*command front takes"),
    ):
        with pytest.raises(UserError, match=told):
            commandline.check_kind(config, command)
