"""Runs that train at once, in threads of one process."""

import json

import pytest

from gpnas.train import _at_once

SCRIPT = """
import contextlib, json, pathlib, sys
from gpnas import _stop
from gpnas.train import Stopped, _at_once, front_config, load_data, train_front
from tests.times import TIMES

folder = pathlib.Path(sys.argv[1])
config = front_config()
config.data.name, config.model.name, config.model.widths = "digits", "lenet300", (32, 16)
config.front, config.branch_epochs = (1.0, 0.5), 2
config.train.epochs, config.train.batch_size, config.train.log_every = 4, 64, 5
config.method.every, config.method.window = 5, 3
config.train.tensorboard, config.train.checkpoint_seconds = False, 0.0
data = load_data(config)


def digests(name):
    runs = [folder / name / f"level-{level:g}/record.json" for level in config.front]
    front = json.loads((folder / name / "front.json").read_text())
    networks = [{k: v for k, v in one.items() if k not in TIMES} for one in front["networks"]]
    return [networks, [json.loads(run.read_text())["state_sha256"] for run in runs]]


def trained(name, count):
    _at_once.most_at_once = lambda: count
    train_front(config, folder / name, data)
    return digests(name)


found = {"in turn": trained("a", 1)}
stops = []


@contextlib.contextmanager
def signal():  # the second group, of branches, is stopped while all are under way
    stops.append(0)
    yield lambda: len(stops) == 2 and any(folder.glob("b/level-*/metrics.jsonl"))


usual, _stop.stop_signal = _stop.stop_signal, signal
try:
    trained("b", 2)
except Stopped as error:
    found["said"] = str(error)
_stop.stop_signal = usual
assert not (folder / "b" / "front.json").exists()
config.resume = True
found["at once"] = trained("b", 2)
print(json.dumps(found))
"""


@pytest.mark.slow
def test_branches_at_once_are_those_in_turn(python, tmp_path):
    """The former are stopped under way, and resumed."""
    done = python("-c", SCRIPT, tmp_path, devices=1)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["at once"] == found["in turn"] == found["at once"]
    assert found["said"].startswith("level-1: stopped")
    assert "level-0.5 validation error" in done.stderr


def test_collectives_of_several_devices_would_interleave(monkeypatch):
    for devices, backend, most in ((1, "cpu", 3), (8, "cpu", 1), (1, "gpu", 1)):
        monkeypatch.setattr(_at_once.jax, "device_count", lambda devices=devices: devices)
        monkeypatch.setattr(_at_once.jax, "default_backend", lambda backend=backend: backend)
        monkeypatch.setattr(_at_once, "cores", lambda: 3)
        assert _at_once.most_at_once() == most
