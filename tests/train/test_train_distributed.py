"""Two processes of four devices train as one of eight, survive a loss, and share mistakes."""

import json
import os
import re
import runpy
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from gpnas.errors import UserError
from gpnas.train import _checkpoint, _processes, distributed, train

ROOT = Path(__file__).parents[2]
CONFIG = """
from gpnas.train import base

def get_config():
    config = base(name="rigl", density=0.2, every=10)
    config.data.name, config.model.widths = "digits", (16,)
    config.train.epochs, config.train.batch_size, config.train.log_every = 5, 128, 5
    config.train.keep_epochs, config.train.checkpoint_seconds = tuple(range(1, 5)), 0.0
    config.train.tensorboard = False
    return config
"""
MISTAKES = """
import pathlib, sys
from gpnas import commandline
from gpnas.errors import UserError
from gpnas.train import distributed, train
sys.path.append(sys.argv[1])
from conf import get_config

folder, coordinator, process = pathlib.Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
def main(argv):
    distributed.initialize(coordinator, 2, process, lost_seconds=10)
    mistakes = {
        "batch": {"train.batch_size": 100},
        "differ": {"optimizer.learning_rate": 0.1 + process},
        "own": {"data.name": ("digits", "csv:nowhere")[process], "data.download": False},
        "used": {},
    }
    for name in ("batch", "differ", "used"):
        config = get_config()
        config.update_from_flattened_dict(mistakes[name])
        try:
            train(config, folder / name)
        except UserError as error:
            print(error)
    config = get_config()
    config.seed = -process  # a mistake of one process alone ends both
    train(config, folder / "alone")
sys.argv[1:] = []
commandline.start(main)
"""


@pytest.fixture
def launch(tmp_path):
    """`(command, devices) → [process]` of both, with outputs in files `0.out`, `0.err`, …"""
    started = []

    def start(*command):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            coordinator = f"127.0.0.1:{free.getsockname()[1]}"
        env = os.environ | {
            "HOME": str(tmp_path),
            "XDG_CACHE_HOME": str(tmp_path / "cache"),
            "PYTHONPATH": str(ROOT),
            "XLA_FLAGS": "--xla_force_host_platform_device_count=4",
            "JAX_CPU_COLLECTIVES_IMPLEMENTATION": "gloo",
            "JAX_PLATFORMS": "cpu",
        }
        env.pop("JAX_NUM_CPU_DEVICES", None)
        new = []
        for process in range(2):
            own = [part.format(coordinator=coordinator, process=process) for part in command]
            files = (tmp_path / f"{process}.{name}" for name in ("out", "err"))
            with next(files).open("w") as out, next(files).open("w") as err:
                new.append(
                    subprocess.Popen([sys.executable, *own], env=env, stdout=out, stderr=err)
                )
        started.extend(new)
        return new

    yield start
    for process in started:
        process.kill()
        process.wait()


def text(path):
    return path.read_text(errors="replace")


def watched(run):
    """`{step: (states, selected)}`, the checkpoints of what `run()` trains."""
    found, save = {}, _checkpoint.save

    def keep(folder, step, tree, *about):
        found[step] = _processes.from_numpy(_processes.to_numpy(tree), tree)  # else given away
        save(folder, step, tree, *about)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_checkpoint, "save", keep)
        run()
    return found


@pytest.mark.exhaustive
@pytest.mark.slow
def test_two_processes_of_which_one_is_lost_train_as_one(launch, digits, tmp_path):
    (tmp_path / "conf.py").write_text(CONFIG)
    folder = tmp_path / "two"
    command = [
        str(ROOT / "experiments" / "train.py"), f"--config={tmp_path / 'conf.py'}",
        f"--workdir={folder}", "--coordinator={coordinator}", "--processes=2",
        "--process={process}", "--lost_seconds=10",
    ]  # fmt: skip
    first, second = launch(*command)
    while not (folder / "checkpoints" / "10.digest.json").exists():
        assert first.poll() is second.poll() is None, text(tmp_path / "0.err")
        time.sleep(0.02)
    first.send_signal(signal.SIGKILL)
    assert second.wait(timeout=60) == 75
    assert text(tmp_path / "1.err") == (
        "process 0 was lost; the same command in all processes, with --config.resume=True,"
        " goes on\n"
    )
    assert not (folder / "record.json").exists()
    both = launch(*command, "--config.resume=True")
    assert [process.wait(timeout=100) for process in both] == [0, 0], text(tmp_path / "0.err")
    record = json.loads((folder / "record.json").read_text())
    assert record["machine"]["processes"] == 2 and record["machine"]["devices"] == 8

    config = runpy.run_path(str(tmp_path / "conf.py"))["get_config"]()
    one = watched(lambda: train(config, tmp_path / "one", digits))
    assert sorted(one) == list(range(10, 60, 10))
    for step, tree in one.items():
        restored, ((state,), _) = _checkpoint.restore(folder / "checkpoints", tree, last=step)
        (like,) = tree[0]
        assert restored == step
        jax.tree.map(np.testing.assert_array_equal, state.masks, like.masks)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), state.params, like.params
        )
    assert sum(int(n) for n in like.counters.grown.values()) > 0


@pytest.mark.slow
def test_a_state_that_two_processes_split_is_as_a_replicated_one(launch, digits, tmp_path):
    (tmp_path / "conf.py").write_text(CONFIG)
    folder = tmp_path / "two"
    both = launch(
        str(ROOT / "experiments" / "train.py"), f"--config={tmp_path / 'conf.py'}",
        f"--workdir={folder}", "--coordinator={coordinator}", "--processes=2",
        "--process={process}", "--config.train.shard_min_size=256", "--config.train.epochs=2",
    )  # fmt: skip
    assert [process.wait(timeout=200) for process in both] == [0, 0], text(tmp_path / "0.err")
    config = runpy.run_path(str(tmp_path / "conf.py"))["get_config"]()
    config.train.epochs = 2
    one = watched(lambda: train(config, tmp_path / "one", digits))
    (like,) = one[20][0]
    step, ((state,), _) = _checkpoint.restore(folder / "checkpoints", one[20])
    assert step == 20
    jax.tree.map(np.testing.assert_array_equal, state.masks, like.masks)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), state.params, like.params
    )


@pytest.mark.slow
def test_a_mistake_ends_all_processes(launch, tmp_path):
    (tmp_path / "conf.py").write_text(CONFIG)
    (tmp_path / "mistakes.py").write_text(MISTAKES)
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "record.json").write_text("{}")
    before = set(tmp_path.iterdir())
    both = launch(str(tmp_path / "mistakes.py"), str(tmp_path), "{coordinator}", "{process}")
    assert [process.wait(timeout=60) for process in both] == [2, 2]
    told = [
        [line for line in text(tmp_path / f"{i}.out").splitlines() if "allowed" in line]
        for i in range(2)
    ]
    assert told[0] == told[1] and len(told[0]) == 3
    assert re.match("train.batch_size: got 100, allowed: a multiple of the 8 devices", told[0][0])
    assert told[0][1] == (
        "optimizer.learning_rate: got 0.1 in process 0, 1.1 in 1, allowed:"
        " the same in all processes"
    )
    assert told[0][2].startswith("workdir: got ")
    errors = {text(tmp_path / f"{i}.err") for i in range(2)}
    assert errors == {"seed: got -1, allowed: 0 to 2**32 - 1\n"}
    made = {path.name for path in set(tmp_path.iterdir()) - before}
    assert made <= {"0.out", "0.err", "1.out", "1.err", "cache", "__pycache__"}


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"coordinator": "host", "processes": 2, "process": 0}, "coordinator"),
        ({"processes": 2, "process": 0}, "coordinator"),
        ({"coordinator": "host:1234", "process": 0}, "processes"),
        ({"coordinator": "host:1234", "processes": 2}, "process"),
        ({"coordinator": "host:1234", "processes": 2, "process": 2}, "process"),
    ],
)
def test_arguments_that_do_not_fit(arguments, field):
    with pytest.raises(UserError, match=f"^{field}: "):
        distributed.initialize(**arguments)


def test_a_port_that_is_in_use_is_one_line():
    with socket.create_server(("", 0)) as other:
        coordinator = f"localhost:{other.getsockname()[1]}"
        with pytest.raises(UserError, match="^coordinator: got .*in use"):
            distributed.initialize(coordinator, 2, 0)


FATAL = "client.h:80] Terminating process because the JAX distributed service detected fatal errors"


@pytest.mark.parametrize(
    ("said", "line"),
    [
        (
            "The following tasks are unhealthy (stopped sending heartbeats):\n1\nThe",
            "process 1 was",
        ),
        ("(stopped sending heartbeats):\n1\n12\nThe", "process 1, 12 was lost"),
        ("UNAVAILABLE: Failed to send RPC to coordination service. Either", "process 0 was lost"),
        ("RPC: /xla.coordination.CoordinationService/RegisterTask", "not all processes came"),
        ("Barrier timed out", "another process was lost"),
    ],
)
def test_what_the_coordination_service_says_is_told_in_one_line(said, line):
    assert distributed.explain_abort(FATAL + said).startswith(line)
    assert distributed.explain_abort(said) is None
