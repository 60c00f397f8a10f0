"""A run that was cut off and goes on is the run that was not, to the last bit."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from gpnas.errors import UserError
from gpnas.train import train
from tests.cases import some
from tests.times import TIMES

DEVELOPMENT = {
    "name": "development", "density": 0.2, "peak": 3.0, "every": 5, "window": 3, "decay": 0.9,
}  # fmt: skip
UNITS = {
    "name": "development_units", "density": 0.25, "every": 5, "window": 3,
    "peak_at": 0.35, "peak": 2.5,
}  # fmt: skip
COST = {
    "name": "development_cost", "every": 5, "window": 3,
    "curve": ((0.0, 1.0), (0.2, 1.0), (0.3, 0.5), (0.8, 0.25)),
}  # fmt: skip
RECIPES = {
    "development": ("sgd", {"momentum": 0.9}, 0.1, DEVELOPMENT),
    "adam": ("adam", {}, 0.01, {"name": "granet", "density": 0.2, "every": 5}),
    "elastic": ("sgd", {"momentum": 0.9}, 0.1, UNITS),
    "elastic cost": ("sgd", {"momentum": 0.9}, 0.1, COST),
}


@pytest.fixture(scope="module")
def recipe(tiny):
    """`name → config`."""

    def make(name):
        optimizer, arguments, rate, method = RECIPES[name]
        config = tiny(**method)
        config.optimizer.name, config.optimizer.learning_rate = optimizer, rate
        config.optimizer.arguments = arguments
        config.elastic, config.elastic_round_to = "elastic" in name, 8 if name == "elastic" else 2
        config.elastic_min_flops = 2.4e7
        config.data.augment = "" if name == "adam" else "pad_crop(1)|flip_lr|mixup(0.2)"
        return config

    return make


@pytest.fixture(scope="module")
def whole(recipe, digits, watched_saves, tmp_path_factory):
    """`name → (record, lines, leaves)` of a run that nothing cuts off."""
    done = {}

    def get(name):
        if name not in done:
            folder = tmp_path_factory.mktemp(name) / "run"
            with watched_saves() as saved:
                record = train(recipe(name), folder, digits)
            done[name] = record, lines(folder), saved[folder]
        return done[name]

    return get


def results(record):
    """What a record says of the run itself."""
    return {k: v for k, v in record.items() if k not in (*TIMES, "config", "compilations")}


def lines(workdir):
    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k not in TIMES} for row in rows]


def same(a, b):
    assert a.keys() == b.keys()
    for path, leaf in a.items():
        assert leaf.dtype == b[path].dtype, path
        np.testing.assert_array_equal(leaf, b[path], err_msg=path)


@pytest.mark.slow
@pytest.mark.parametrize("name", some(["development", "elastic", "adam"], ["development"]))
def test_bit_for_bit(name, recipe, whole, digits, tmp_path, saved, stop_at):
    config, parts = recipe(name), tmp_path / "parts"
    expected, rows, leaves = whole(name)
    grown = {line["step"]: line["grown"] for line in expected["curve"]}
    pruned = {line["step"]: line["pruned"] for line in expected["curve"]}
    assert pruned[28] if name == "adam" else grown[14]
    assert pruned[28] or pruned[35]

    config.resume = True
    for step in (7, 21):  # an event that grows, and one that prunes, are the next ones
        with stop_at(step):
            train(config, parts, digits)
    found = train(config, parts, digits)

    assert results(found) == results(expected)
    assert lines(parts) == rows
    same(saved[parts], leaves)
    assert found["compilations"] == 1 or name == "elastic"


@pytest.mark.slow
def test_an_elastic_run_resumes_with_its_widths(recipe, whole, digits, tmp_path, saved, stop_at):
    def widths(workdir, step):
        digest = workdir / "checkpoints" / f"{step}.digest.json"
        return list(json.loads(digest.read_text())["about"]["widths"].values())

    config, parts = recipe("elastic cost"), tmp_path / "parts"
    expected, rows, leaves = whole("elastic cost")
    with stop_at(49):  # too late for a resize of the full network to save that many FLOPs
        train(config, parts, digits)
    kept = widths(parts, 49)
    assert expected["compilations"] == 2 and sum(kept) < 48
    config.resume = True
    found = train(config, parts, digits)
    assert widths(parts, 80) == kept
    assert results(found) == results(expected) and lines(parts) == rows
    same(saved[parts], leaves)


KILL = """
import os, signal, sys
from gpnas.train import _checkpoint as checkpoint, train
from gpnas import data
from ml_collections import ConfigDict
import json

config = ConfigDict(json.loads(sys.argv[1]))
write = checkpoint.write_json

def write_json(path, content):
    if path.name == "60.digest.json":
        os.kill(os.getpid(), signal.SIGKILL)
    write(path, content)

checkpoint.write_json = write_json
train(config, sys.argv[2], data.load("digits"))
"""


@pytest.mark.slow
def test_after_a_kill_between_a_checkpoint_and_its_digest(
    recipe, whole, digits, tmp_path, saved, python
):
    """Kills at other moments are those of experiments/faults."""
    config, parts = recipe("development"), tmp_path / "parts"
    script = tmp_path / "kill.py"
    script.write_text(KILL)
    killed = python(script, config.to_json(), parts, devices=jax.device_count())
    assert killed.returncode == -9, killed.stderr
    assert (parts / "checkpoints" / "60").exists()
    assert not (parts / "record.json").exists()

    expected, rows, leaves = whole("development")
    config.resume = True
    assert results(train(config, parts, digits)) == results(expected)
    assert lines(parts) == rows
    same(saved[parts], leaves)
    names = {path.name for path in (parts / "checkpoints").iterdir()}
    assert names == {"60", "60.digest.json", "80", "80.digest.json"}


@pytest.mark.slow
def test_numbers_do_not_depend_on_the_log_points(tiny, digits, tmp_path, saved):
    for name, every in ("often", 3), ("seldom", 1000):
        config = tiny(name="gmp", density=0.2, every=5)
        config.train.log_every, config.train.eval_every = every, 3
        train(config, tmp_path / name, digits)
    same(*(saved[tmp_path / name] for name in ("often", "seldom")))
    steps = [line["step"] for line in lines(tmp_path / "seldom")]
    assert steps == [20, 40, 60, 60, 80, 80]


@pytest.mark.slow
def test_few_examples_on_another_number_of_devices(tiny, digits, tmp_path, stop_at, monkeypatch):
    """The batch of few examples is a multiple of the devices; another one is another run."""
    few = dataclasses.replace(digits.train, inputs=digits.train.inputs[:80],
                              targets=digits.train.targets[:80])  # fmt: skip
    data, config = dataclasses.replace(digits, train=few), tiny(name="dense")
    config.train.batch_size = 120
    with stop_at(8):
        train(config, tmp_path, data)
    config.resume = True
    monkeypatch.setattr(jax, "device_count", lambda: 3)
    with pytest.raises(UserError, match=r"batch_size: got 9, allowed: (8|10), as the run in .* be"):
        train(config, tmp_path, data)
    monkeypatch.undo()
    assert train(config, tmp_path, data)["batch_size"] in (8, 10)
