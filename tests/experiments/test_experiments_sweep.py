"""The command line of a study."""

import json

import pytest

STUDY = """
from configs import dense, static
from gpnas.train import study

def get_config():
    arms = {"dense": dense.get_config(), "static": static.get_config()}
    for arm in arms.values():
        arm.data.name, arm.train.epochs, arm.train.batch_size = "digits", 1, 64
        arm.model.widths = (16,)
    return study("tiny", arms, densities=(0.2,), seeds=(0, 1), replicas="on")
"""


@pytest.mark.slow
def test_a_study(python, tmp_path):
    (tmp_path / "study.py").write_text(STUDY)
    arguments = (
        "experiments/sweep.py", f"--config={tmp_path / 'study.py'}",
        f"--workdir={tmp_path / 'runs'}", f"--results={tmp_path / 'results'}",
    )  # fmt: skip
    done = python(*arguments, "--config.only=static,statc")
    assert done.returncode == 2
    assert done.stderr == "only: got 'statc', allowed: dense, static (did you mean static?)\n"
    assert [path.name for path in tmp_path.iterdir()] == ["study.py"]

    done = python(*arguments, "--config.only=static")
    assert done.returncode == 0, done.stderr
    path = tmp_path / "results" / "tiny" / "records.jsonl"
    assert done.stdout == f"{path}\n"
    assert "\r" not in done.stderr
    records = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(record["arm"], record["seed"]) for record in records] == [("static", 0), ("static", 1)]
    assert {record["config"]["resume"] for record in records} == {True}
