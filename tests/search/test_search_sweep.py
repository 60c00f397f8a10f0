"""Sweeps that workers share: every run has one record, whoever dies."""

import concurrent.futures
import contextlib
import json
import signal
import time
from types import SimpleNamespace

import optuna
import pytest

from gpnas.errors import GaveUp, UserError
from gpnas.records import read_lines, records_path, write_json
from gpnas.search import storage, sweep
from gpnas.train import Diverged, Stopped, base, study


def small(seeds=(0, 1, 2), epochs=2):
    arm = base(name="static", density=0.5)
    arm.data.name, arm.model.widths = "digits", (16,)
    arm.train.epochs, arm.train.batch_size, arm.train.log_every = epochs, 64, 7
    arm.train.checkpoint_seconds, arm.train.tensorboard = 0.0, False
    return study("small", {"static": arm}, densities=(), seeds=seeds, replicas="off")


def url(folder):
    return f"sqlite:///{folder}/sweep.db"


@pytest.fixture
def trained(monkeypatch):
    """`{"seed": exception or None}`: what training comes to; the records hold the config alone."""
    outcomes = {}

    def train(configs, folders, data, stopped):
        if outcomes.get(configs[0].seed):
            raise outcomes[configs[0].seed]
        return [{"config": c.to_dict(), "metrics": {}, "wall_s": 1.0} for c in configs]

    monkeypatch.setattr("gpnas.train._study.train_replicas", train)
    return outcomes


def seeds_of(results):
    return sorted(r["config"]["seed"] for r in read_lines(records_path(results, "small")))


@pytest.mark.slow
def test_a_sweep_has_each_record_once_and_goes_on_with_more_seeds(tmp_path, trained):
    for seeds in ((0, 1), (0, 1, 2), (0, 1, 2)):
        kept = sweep.queue_runs(url(tmp_path), small(seeds), tmp_path / "w", tmp_path / "r")
        # The queue is filled once.
        sweep.queue_runs(url(tmp_path), small(seeds), tmp_path / "w", tmp_path / "r")
        sweep.take_runs(kept, tmp_path / "w", tmp_path / "r")
        assert seeds_of(tmp_path / "r") == list(seeds)
    assert [trial.state.name for trial in kept.trials] == 3 * ["COMPLETE"]


@pytest.mark.slow
def test_a_run_that_diverges_does_not_stop_the_others(tmp_path, trained):
    trained[1] = Diverged("the train loss is nan")
    kept = sweep.queue_runs(url(tmp_path), small(), tmp_path / "w", tmp_path / "r")
    with pytest.raises(GaveUp, match=r"^static, seeds \[1\]: static-seed1: the train loss is nan$"):
        sweep.take_runs(kept, tmp_path / "w", tmp_path / "r")
    assert seeds_of(tmp_path / "r") == [0, 2]
    del trained[1]
    kept = sweep.queue_runs(url(tmp_path), small(), tmp_path / "w", tmp_path / "r")
    sweep.take_runs(kept, tmp_path / "w", tmp_path / "r")
    assert seeds_of(tmp_path / "r") == [0, 1, 2]


@pytest.mark.slow
def test_a_run_that_succeeds_with_other_settings_has_not_failed(tmp_path, trained):
    trained[0] = Diverged("the train loss is nan")
    for epochs in (2, 1):
        config, places = small((0,), epochs), (tmp_path / f"w{epochs}", tmp_path / "r")
        kept = sweep.queue_runs(url(tmp_path), config, *places)
        with pytest.raises(GaveUp) if trained else contextlib.nullcontext():
            sweep.take_runs(kept, *places)
        trained.clear()
    assert seeds_of(tmp_path / "r") == [0]


@pytest.mark.slow
def test_a_queued_run_keeps_its_settings(tmp_path, trained):
    places = tmp_path / "w", tmp_path / "r"
    kept = sweep.queue_runs(url(tmp_path), small(epochs=1), *places)
    with pytest.raises(UserError, match=r"train.epochs: got 2, allowed: 1, as in the queue"):
        sweep.queue_runs(url(tmp_path), small(epochs=2), *places)
    sweep.take_runs(kept, *places)
    assert seeds_of(tmp_path / "r") == [0, 1, 2] and len(kept.trials) == 3


@pytest.mark.slow
@pytest.mark.parametrize("state", ["RUNNING", "FAIL"])
def test_no_run_is_lost_if_a_worker_dies_between_two_steps(state, tmp_path, trained, monkeypatch):
    """Before the first heartbeat; or before a dead worker's run is back in the queue."""
    monkeypatch.setattr("gpnas.search._queue.GRACE", 0.5)
    places = tmp_path / "w", tmp_path / "r"
    kept = sweep.queue_runs(url(tmp_path), small(), *places)
    trial = kept.ask()
    if state == "FAIL":
        kept.tell(trial, state=optuna.trial.TrialState.FAIL)
    sweep.take_runs(kept, *places)
    assert seeds_of(tmp_path / "r") == [0, 1, 2]


@pytest.mark.slow
@pytest.mark.parametrize("error", [Stopped("x"), UserError("data", 1, "2"), KeyboardInterrupt()])
def test_a_worker_that_ends_leaves_its_run_to_others(error, tmp_path, trained):
    trained[1] = error
    kept = sweep.queue_runs(url(tmp_path), small(), tmp_path / "w", tmp_path / "r")
    with pytest.raises(type(error)):
        sweep.take_runs(kept, tmp_path / "w", tmp_path / "r")
    del trained[1]
    sweep.take_runs(sweep.join(url(tmp_path)), tmp_path / "w", tmp_path / "r")
    assert seeds_of(tmp_path / "r") == [0, 1, 2]


def test_a_foreign_run_in_a_folder_is_refused_before_anything_is_queued(tmp_path, trained):
    other = tmp_path / "w" / "small" / "static-seed1"
    other.mkdir(parents=True)
    config = small(epochs=3).arms.static.to_dict()
    write_json(other / "config.json", {"config": config})
    with pytest.raises(UserError, match=r"allowed: .* as the run in .*static-seed1 began"):
        sweep.queue_runs(url(tmp_path), small(), tmp_path / "w", tmp_path / "r")
    assert not (tmp_path / "sweep.db").exists()


def test_a_worker_that_comes_too_late_for_a_run_goes_on(tmp_path, trained, monkeypatch):
    kept = sweep.queue_runs(url(tmp_path), small(seeds=(0,)), tmp_path / "w", tmp_path / "r")
    sweep.take_runs(kept, tmp_path / "w", tmp_path / "r")
    waiting = optuna.trial.TrialState.WAITING
    seen = iter([[SimpleNamespace(state=waiting)]])
    with monkeypatch.context() as patch:  # another worker takes the run after this one has looked
        look = lambda states=(), **_: next(seen, []) if waiting in states else []  # noqa: E731
        patch.setattr(kept, "get_trials", look)
        sweep.take_runs(kept, tmp_path / "w", tmp_path / "r")
    assert [trial.state.name for trial in kept.trials] == ["COMPLETE", "FAIL"]


def test_what_is_no_sweep_is_refused(tmp_path, trained):
    storage.open_study(url(tmp_path), "search", ("error",), {"space": "x"})
    with pytest.raises(UserError, match="name: got 'search', allowed: a sweep"):
        sweep.join(url(tmp_path))
    with pytest.raises(UserError, match="name: got 'other', allowed: search"):
        sweep.join(url(tmp_path), "other")
    kept = sweep.queue_runs(url(tmp_path), small(), tmp_path / "w", tmp_path / "r")
    trial = kept.get_trials(states=(optuna.trial.TrialState.WAITING,))[0]
    other = {"job": trial.user_attrs["job"] | {"dataset_sha256": "other"}}
    kept = storage.open_study(url(tmp_path), "data", ("wall_s",), {"sweep": "data"})
    kept.enqueue_trial({}, user_attrs=other)
    with pytest.raises(UserError, match="dataset_sha256: got .*where the sweep was begun"):
        sweep.take_runs(kept, tmp_path / "w", tmp_path / "r")
    assert not (tmp_path / "r").exists()


WORKER = """
import os, signal, sys
from gpnas.search import sweep
from gpnas.train import _checkpoint

save = _checkpoint.save

def killing(*arguments):
    save(*arguments)
    os.kill(os.getpid(), signal.SIGKILL)

place, folder, dies = sys.argv[1:]
if dies == "dies":
    _checkpoint.save = killing
sweep.take_runs(sweep.join(place, heartbeat=1, grace=2), f"{folder}/w", f"{folder}/r")
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "database", ["sqlite", pytest.param("postgresql", marks=pytest.mark.exhaustive)]
)
def test_three_workers_of_which_one_is_killed(database, python, tmp_path, request):
    place = url(tmp_path) if database == "sqlite" else request.getfixturevalue(database)
    kept = sweep.queue_runs(place, small(), tmp_path / "w", tmp_path / "r", heartbeat=1, grace=2)
    with concurrent.futures.ThreadPoolExecutor() as threads:

        def worker(how):
            return threads.submit(python, "-c", WORKER, place, tmp_path, how)

        killed = worker("dies")
        while not kept.get_trials(states=(optuna.trial.TrialState.RUNNING,)):
            assert not killed.done()
            time.sleep(0.1)
        others = [worker("lives") for _ in range(2)]  # there is a run for each of the three
        assert killed.result().returncode == -signal.SIGKILL, killed.result().stderr
        assert [other.result().returncode for other in others] == [0, 0]
    assert seeds_of(tmp_path / "r") == [0, 1, 2]
    assert sum(trial.state.name == "COMPLETE" for trial in kept.trials) == 3
    assert sum("failed_trial" in trial.system_attrs for trial in kept.trials) == 1
    for folder in (tmp_path / "w" / "small").glob("*-seed*"):
        lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        assert [line["step"] for line in lines] == [7, 14, 20, 20, 21, 28, 35, 40, 40]
