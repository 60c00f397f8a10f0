"""Two processes of four devices train as one of eight, survive a loss, and share mistakes."""

import concurrent.futures
import importlib.util
import json
import os
import re
import runpy
import signal
import socket
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from gpnas.errors import UserError
from gpnas.train import _checkpoint, _processes, distributed, train
from tests.cases import some

ROOT = Path(__file__).parents[2]
CONFIG = """
from gpnas.train import base

def get_config():
    config = base(name="rigl", density=0.2, every=10)
    config.data.name, config.model.widths = "digits", (16,)
    config.train.epochs, config.train.batch_size, config.train.log_every = 3, 128, 5
    config.train.keep_epochs, config.train.checkpoint_seconds = (1, 2), 0.0
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
        "kept": {"train.keep_epochs": ((1, 2), ())[process]},
        "traced": {"train.profile": ((), (2, 4))[process]},
        "used": {},
    }
    for name in mistakes:
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


DIES = """
import os, runpy, signal, sys
from gpnas.train import _checkpoint

save = _checkpoint.save

def killing(*arguments):
    save(*arguments)
    os.kill(os.getpid(), signal.SIGKILL)

_checkpoint.save = killing
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
TOLD = """
import itertools, os, runpy, signal, sys
from gpnas.train import _processes

ask, count = _processes.any_of, itertools.count(1)

def asked(flag):
    found = ask(flag)
    if next(count) == 2:
        os.kill(os.getpid(), signal.SIGTERM)
    return found

_processes.any_of = asked
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
WAITS = """
import os, runpy, signal, sys, threading
from absl import logging
from gpnas.train import distributed

warn = logging.warning

def warned(*said):
    warn(*said)
    threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGTERM)).start()

distributed.initialize.__globals__["_SILENT_SECONDS"] = 0.1
logging.warning = warned
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
STREAM = ["--config.train.feed=stream"] if importlib.util.find_spec("grain") else []


@pytest.fixture
def launch(forked, tmp_path):
    """`(*command, before=…, after=…, devices=…, slurm=…) → [future of each finished process]`."""
    with concurrent.futures.ThreadPoolExecutor(2) as threads:

        def start(*command, before=((), ()), after=((), ()), devices=(4, 4), slurm=None):
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                coordinator = f"127.0.0.1:{free.getsockname()[1]}"
            env = os.environ | {
                "HOME": str(tmp_path),
                "XDG_CACHE_HOME": str(tmp_path / "cache"),
                "JAX_PLATFORMS": "cpu",
            }
            whole = [(*first, *command, *last) for first, last in zip(before, after, strict=False)]
            return [
                threads.submit(
                    forked,
                    [part.format(coordinator=coordinator, process=i) for part in parts],
                    ROOT,
                    env
                    | {"JAX_NUM_CPU_DEVICES": str(devices[i])}
                    | ({**slurm, "SLURM_PROCID": str(i), "SLURM_LOCALID": str(i)} if slurm else {}),
                )
                for i, parts in enumerate(whole)
            ]

        yield start


def in_a_minute(processes):
    """The finished processes, all of which end within a minute."""
    _, late = concurrent.futures.wait(processes, timeout=60)
    assert not late
    return [process.result() for process in processes]


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


@pytest.fixture
def training(tmp_path):
    """`(folder, command)` of a run of two processes, but for its epochs."""
    (tmp_path / "conf.py").write_text(CONFIG)
    return tmp_path / "two", [
        str(ROOT / "experiments" / "train.py"), f"--config={tmp_path / 'conf.py'}",
        f"--workdir={tmp_path / 'two'}", "--coordinator={coordinator}", "--processes=2",
        "--process={process}", "--lost_seconds=5",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def one(digits, tmp_path_factory):
    """`{step: (states, selected)}` at each mask update of a run of one process of eight devices."""
    folder = tmp_path_factory.mktemp("one")
    (folder / "conf.py").write_text(CONFIG)
    config = runpy.run_path(str(folder / "conf.py"))["get_config"]()
    return watched(lambda: train(config, folder / "one", digits))


def as_one(folder, one):
    """Compares the checkpoints of two processes with those of one."""
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
def test_two_processes_of_which_one_is_lost_train_as_one(launch, training, tmp_path, one):
    (tmp_path / "dies.py").write_text(DIES)
    folder, command = training
    killed, left = launch(*command, before=([str(tmp_path / "dies.py")], ()))
    assert killed.result().returncode == -signal.SIGKILL, killed.result().stderr
    begun = time.monotonic()
    assert left.result().returncode == 75
    assert time.monotonic() - begun < 60
    assert left.result().stderr == (
        "process 0 was lost; the same command in all processes, with --config.resume=True,"
        " resumes\n"
    )
    assert _checkpoint.steps(folder / "checkpoints") == [10]
    assert not (folder / "record.json").exists()
    both = launch(*command, "--config.resume=True")
    assert [process.result().returncode for process in both] == [0, 0], both[0].result().stderr
    record = json.loads((folder / "record.json").read_text())
    assert record["machine"]["processes"] == 2 and record["machine"]["devices"] == 8
    assert sorted(one) == [10, 20, 30]
    as_one(folder, one)


@pytest.mark.slow
@pytest.mark.parametrize("process", some([0, 1], [1]))
def test_a_signal_to_one_process_stops_both(process, launch, training, tmp_path, one):
    """The signal comes after step 10, so both stop at the next log point."""
    (tmp_path / "told.py").write_text(TOLD)
    folder, command = training
    before = [(), ()]
    before[process] = [str(tmp_path / "told.py")]
    both = [stopped.result() for stopped in launch(*command, before=before)]
    assert [stopped.returncode for stopped in both] == [75, 75], both[0].stderr
    last = {stopped.stderr.splitlines()[-1] for stopped in both}
    assert last == {"stopped at step 15; --config.resume=True resumes it"}
    assert _checkpoint.steps(folder / "checkpoints") == [10, 15]
    assert not (folder / "record.json").exists()
    both = [resumed.result() for resumed in launch(*command, "--config.resume=True")]
    assert [resumed.returncode for resumed in both] == [0, 0], both[0].stderr
    as_one(folder, one)


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    "fields",
    [["--config.train.shard_min_size=256", *STREAM], ["--config.train.parallel=pmap"]],
    ids=["split and streamed", "pmap"],
)
def test_other_programs_of_two_processes_train_as_one(fields, launch, training, tmp_path, one):
    folder, command = training
    other = tmp_path / "other"  # of process 1, which writes nothing
    both = launch(*command, *fields, after=((), (f"--workdir={other}",)))
    assert [process.result().returncode for process in both] == [0, 0], both[0].result().stderr
    as_one(folder, one)
    assert not other.exists()


@pytest.fixture
def slurm():
    """Variables of a step of two tasks on this machine whose port is free."""
    for job in range(4096):
        with socket.socket() as free:
            if free.connect_ex(("127.0.0.1", 61440 + job)):  # as JAX computes it
                break
    return {"SLURM_JOB_ID": str(job), "SLURM_STEP_NODELIST": "localhost", "SLURM_NTASKS": "2"}


@pytest.mark.exhaustive
def test_tasks_of_slurm_train_as_one(launch, training, slurm, one):
    folder, command = training
    command = [part for part in command if not re.match("--(coordinator|process)", part)]
    both = launch(*command, "--distributed", slurm=slurm)
    assert [process.result().returncode for process in both] == [0, 0], both[0].result().stderr
    assert json.loads((folder / "record.json").read_text())["machine"]["processes"] == 2
    as_one(folder, one)


@pytest.mark.exhaustive
def test_a_sweep_in_a_task_of_slurm_does_not_wait_for_the_others(launch, tmp_path, slurm):
    one_arm = 'return study("s", {"a": config}, densities=(), seeds=(0,))'
    conf = CONFIG.replace("import base", "import base, study").replace("return config", one_arm)
    (tmp_path / "conf.py").write_text(conf)
    command = [
        str(ROOT / "experiments" / "sweep.py"), f"--config={tmp_path / 'conf.py'}",
        f"--results={tmp_path / 'results'}",
    ]  # fmt: skip
    [alone] = launch(*command, f"--workdir={tmp_path / 'runs'}", before=((),), slurm=slurm)
    assert alone.result().returncode == 0, alone.result().stderr
    [line] = (tmp_path / "results" / "s" / "records.jsonl").read_text().splitlines()
    assert json.loads(line)["machine"]["processes"] == 1


@pytest.mark.slow
def test_a_mistake_ends_all_processes(launch, tmp_path):
    (tmp_path / "conf.py").write_text(CONFIG)
    (tmp_path / "mistakes.py").write_text(MISTAKES)
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "record.json").write_text("{}")
    before = set(tmp_path.iterdir())
    command = str(tmp_path / "mistakes.py"), str(tmp_path), "{coordinator}", "{process}"
    both = in_a_minute(launch(*command))
    assert [process.returncode for process in both] == [2, 2]
    told = [[line for line in process.stdout.splitlines() if "allowed" in line] for process in both]
    assert told[0] == told[1] and len(told[0]) == 5
    assert re.match("train.batch_size: got 100, allowed: a multiple of the 8 devices", told[0][0])
    differ = {
        "optimizer.learning_rate": "0.1 in process 0, 1.1 in 1",
        "train.keep_epochs": "[1, 2] in process 0, [] in 1",
        "train.profile": "[] in process 0, [2, 4] in 1",
    }
    same = "allowed: the same in all processes"
    assert told[0][1:4] == [f"{field}: got {got}, {same}" for field, got in differ.items()]
    assert told[0][4].startswith("workdir: got ")
    errors = {process.stderr for process in both}
    assert errors == {"seed: got -1, allowed: 0 to 2**32 - 1\n"}
    made = {path.name for path in set(tmp_path.iterdir()) - before}
    assert made <= {"cache", "__pycache__"}


@pytest.mark.slow
@pytest.mark.parametrize("mistake", ["--config.train.epochz=3", "--config=nowhere.py", "more"])
def test_a_mistake_in_one_command_line_ends_all_processes(mistake, launch, training):
    folder, command = training
    both = in_a_minute(launch(*command, after=((), (mistake,))))
    assert [process.returncode for process in both] == [2, 2], both[0].stderr
    lines = {process.stderr.splitlines()[-1] for process in both}
    assert len(lines) == 1 and ": got " in lines.pop()
    assert not folder.exists()


@pytest.mark.slow
def test_the_wait_for_other_processes_ends_at_a_signal(launch, training, tmp_path):
    (tmp_path / "waits.py").write_text(WAITS)
    folder, command = training
    [alone] = launch(*command, before=([str(tmp_path / "waits.py")],))
    assert alone.result().returncode == 75
    warning, line = alone.result().stderr.splitlines()
    assert warning.endswith("waiting for the other processes")
    assert line == "interrupted; the same command resumes"
    assert not folder.exists()


@pytest.mark.slow
def test_hosts_with_other_numbers_of_devices_are_refused_on_each(launch, tmp_path):
    code = "import sys; from gpnas.train import distributed as d; from gpnas import commandline\n"
    code += "at, i = sys.argv[1:]; sys.argv[1:] = []\n"
    code += "commandline.start(lambda argv: d.initialize(at, 2, int(i)))"
    both = in_a_minute(launch("-c", code, "{coordinator}", "{process}", devices=(4, 2)))
    assert [process.returncode for process in both] == [2, 2]
    errors = {process.stderr for process in both}
    assert errors == {"devices: got '4, 2', allowed: the same number of devices in each process\n"}


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
        ("RPC: /xla.coordination.CoordinationService/RegisterTask", "not all processes joined"),
        ("Barrier timed out", "another process was lost"),
    ],
)
def test_what_the_coordination_service_says_is_told_in_one_line(said, line):
    assert distributed.explain_abort(FATAL + said).startswith(line)
    assert distributed.explain_abort(said) is None
