"""Searches in a database: the same as those in memory, stopped, killed, shared."""

import os
import pathlib
import signal
import subprocess
import sys
import textwrap
import threading
import time

import numpy as np
import optuna
import pytest

from gpnas.errors import UserError
from gpnas.search import STRATEGIES, Proposal, search, search_together, storage
from tests.cases import some
from tests.search.test_search_strategies import SPACE, error, strategy

ROOT = pathlib.Path(__file__).parents[2]


def url(folder):
    return f"sqlite:///{folder}/search.db"


def opened(folder, objectives=("error",), **settings):
    return storage.open_study(url(folder), "s", objectives, settings)


def story(history):
    return [(t.architecture, t.budget, dict(t.metrics)) for t in history]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["evolution", "asha", "local"])
def test_stopped_at_any_trial_it_ends_as_one_that_was_not(tmp_path, name):
    whole = search(strategy(name), error, 16, seed=5)
    for evaluations in (4, 5, 16):
        again = opened(tmp_path)
        found = storage.work(again, strategy(name), error, evaluations, seed=5)
    assert story(found) == story(whole)
    assert [t.parent for t in found] == [t.parent for t in whole]
    assert storage.work(again, strategy(name), error, 16, seed=5) == found


def grouped(groups):
    def evaluate(trials):
        groups.append([(t.architecture, t.budget) for t in trials])
        return [error(trial) for trial in trials]

    return evaluate


@pytest.mark.slow
@pytest.mark.parametrize("name", ["evolution", "asha", "successive_halving", "local"])
def test_candidates_evaluated_together(tmp_path, name):
    """No candidate is evaluated twice, and groups are those in memory."""
    in_memory, stored = [], []
    whole = search_together(strategy(name), grouped(in_memory), 16, together=3, seed=5)
    for evaluations in (6, 16):
        found = storage.work_together(
            opened(tmp_path), strategy(name), grouped(stored), evaluations, together=3, seed=5
        )
    assert max(map(len, in_memory)) == 3
    if name == "evolution":  # the others repeat or wait, so six evaluations cut a group
        assert stored == in_memory and story(found) == story(whole)
    assert len({(t.architecture, t.budget) for t in found}) == 16
    flat = [one for group in stored for one in group]
    assert len(flat) == len(set(flat)) == 16  # each candidate is evaluated once


@pytest.mark.slow
@pytest.mark.parametrize("name", ["evolution", "asha", "successive_halving", "local"])
def test_one_worker_makes_the_same_proposals_as_in_memory(tmp_path, name):
    whole = search_together(strategy(name), grouped([]), 16, together=3, seed=5)
    kept = opened(tmp_path)
    found = storage.work_together(kept, strategy(name), grouped([]), 16, together=3, seed=5)
    assert story(found) == story(whole)
    repeats = [whole[t.repeats].architecture if t.repeats is not None else None for t in whole]
    numbers = {trial.number: trial for trial in found}
    assert repeats == [
        numbers[t.repeats].architecture if t.repeats is not None else None for t in found
    ]


def test_a_worker_whose_strategy_waits_can_be_stopped(tmp_path):
    kept = storage.open_study(url(tmp_path), "s", ("error",), {}, heartbeat=60, grace=60)
    kept.ask().set_user_attr("proposal", Proposal(SPACE.sample(np.random.default_rng(0)))._asdict())

    def stop(number, frame):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, stop)
    begun = time.monotonic()
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.5)
        with pytest.raises(KeyboardInterrupt):
            storage.work(kept, lambda history, rng: None, error, 5)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert time.monotonic() - begun < 5
    assert len(storage.history_of(kept)) == 1  # the trial that waited is not in the history


def test_a_group_of_which_the_evaluation_is_interrupted(tmp_path):
    def evaluate(trials):
        raise KeyboardInterrupt

    kept = opened(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        storage.work_together(kept, strategy("evolution"), evaluate, 6, together=3)
    assert [trial.state.name for trial in kept.trials] == ["FAIL"] * 3
    assert all(trial.user_attrs["interrupted"] for trial in kept.trials)
    found = storage.work_together(kept, strategy("evolution"), grouped([]), 6, together=3)
    assert story(found) == story(search_together(strategy("evolution"), grouped([]), 6, together=3))


@pytest.mark.slow
def test_optuna_knows_the_objectives(tmp_path):
    kept = opened(tmp_path, ("error", "size"))
    propose = STRATEGIES["nsga2"](SPACE, ("error", "size"), population=5)
    found = storage.work(kept, propose, error, 12)
    assert kept.metric_names == ["error", "size"]
    best = {tuple(trial.values) for trial in kept.best_trials}
    assert best <= {(t.metrics["error"], t.metrics["size"]) for t in found}


def test_a_study_has_a_drawing_once(tmp_path):
    kept = opened(tmp_path)
    (tmp_path / "trial_1.png").write_bytes(b"image")
    for _ in range(2):
        storage.attach(kept, tmp_path / "trial_1.png", tmp_path / "store")
    assert [path.read_bytes() for path in (tmp_path / "store").iterdir()] == [b"image"]
    again = opened(tmp_path)
    assert [m.filename for m in optuna.artifacts.get_all_artifact_meta(again)] == ["trial_1.png"]


def test_another_search_under_the_same_name(tmp_path):
    opened(tmp_path, space="a", evaluations=5)
    opened(tmp_path, space="a", evaluations=9)
    _, settings = storage.join_study(url(tmp_path), "s")
    assert settings["evaluations"] == 9  # workers that join take the newest number
    with pytest.raises(UserError, match="space: got 'b', allowed: 'a'"):
        opened(tmp_path, space="b", evaluations=5)


def test_a_search_may_be_moved_and_the_field_that_differs_is_named(tmp_path):
    data = {"name": "digits", "cache_dir": "/here"}
    opened(tmp_path, space="table:/here/a.csv", strategy={"name": "random", "sample": 3}, data=data)
    moved = {"name": "digits", "cache_dir": "/there"}
    again = {"space": "table:/there/a.csv", "data": moved}
    opened(tmp_path, **again, strategy={"name": "random", "sample": 3})
    with pytest.raises(UserError, match="^strategy.sample: got 4, allowed: 3, what the study"):
        opened(tmp_path, **again, strategy={"name": "random", "sample": 4})


def test_a_candidate_that_kills_its_workers_has_failed(tmp_path):
    """Optuna gives the trial of a dead worker to another, twice."""
    kept = opened(tmp_path)
    proposal = {"architecture": list(SPACE.sample(np.random.default_rng(0))), "parent": None}
    for retries in range(3):
        trial = optuna.trial.create_trial(
            state=optuna.trial.TrialState.FAIL,
            user_attrs={"proposal": proposal | {"budget": 0}},
            system_attrs={"retry_history": list(range(retries))},
        )
        kept.add_trial(trial)
    [given_up] = storage.history_of(kept)
    assert given_up.failed == "its worker died, 3 times"
    found = storage.work(kept, strategy("random"), error, 5)
    assert given_up.architecture not in {t.architecture for t in found[1:]}


@pytest.mark.slow
@pytest.mark.parametrize("how", some(["result", "failure", "interruption"], ["result"]))
def test_a_worker_that_slept_drops_its_result(tmp_path, how, caplog):
    """Its trial is given away meanwhile; a heartbeat in a minute is no sign of life in time."""
    kept = storage.open_study(url(tmp_path), "s", ("error",), {}, heartbeat=60, grace=1)
    other = storage.open_study(url(tmp_path), "s", ("error",), {}, heartbeat=60, grace=1)
    seen = []

    def slept(trial):
        seen.append(trial)
        if len(seen) == 1:
            time.sleep(2.5)
            optuna.storages.fail_stale_trials(other)
            if how == "failure":
                raise ArithmeticError
            if how == "interruption":
                raise KeyboardInterrupt
        return error(trial)

    if how == "interruption":
        with pytest.raises(KeyboardInterrupt):
            storage.work(kept, strategy("evolution"), slept, 5, seed=3)
        return
    found = storage.work(kept, strategy("evolution"), slept, 5, seed=3)
    assert story(found) == story(search(strategy("evolution"), error, 5, seed=3))
    assert seen[1].architecture == seen[0].architecture and seen[1].number == 1
    [line] = [r.getMessage() for r in caplog.records if "given to another" in r.getMessage()]
    assert line.startswith("trial 0 was given to another worker") and "\n" not in line


@pytest.mark.slow
def test_what_a_strategy_waits_for_is_tried_again_if_its_worker_died(tmp_path):
    first, *rest = [SPACE.sample(np.random.default_rng(i)) for i in range(3)]

    def propose(history, rng):
        if any(trial.metrics is None for trial in history):
            return None
        return Proposal(rest[len(history) % 2])

    kept = storage.open_study(url(tmp_path), "s", ("error",), {}, heartbeat=60, grace=1)
    dead = kept.ask()
    dead.set_user_attr("proposal", Proposal(first)._asdict())
    kept._storage.record_heartbeat(dead._trial_id)
    found = storage.work(kept, propose, error, 2)
    assert {trial.architecture for trial in found} >= {first}
    assert all(trial.metrics is not None for trial in found)


def test_what_a_strategy_raises_in_a_search_is_not_dropped(tmp_path):
    def propose(history, rng):
        raise ValueError("no")

    with pytest.raises(ValueError, match="^no$"):
        storage.work(opened(tmp_path), propose, error, 5)


@pytest.mark.parametrize("place", ["nonsense", "sqlite:////no/such/folder/search.db"])
def test_a_database_that_cannot_be_reached(place):
    with pytest.raises(UserError, match="storage: got .* allowed: a database") as raised:
        storage.open_study(place, "s", ("error",), {})
    assert "\n" not in str(raised.value)


def test_no_password_is_shown():
    with pytest.raises(UserError) as raised:
        storage.open_study("mysql+none://me:secret@host/x", "s", ("error",), {})
    assert "secret" not in str(raised.value)


def test_a_study_that_nobody_began(tmp_path):
    opened(tmp_path)
    with pytest.raises(UserError, match="name: got 'other', allowed: s"):
        storage.join_study(url(tmp_path), "other")


WORKER = """
    import sys, time
    from gpnas.search import storage
    from tests.search.test_search_strategies import error, strategy

    def slow(trial):
        time.sleep(float(sys.argv[2]))
        return error(trial)

    kept = storage.open_study(sys.argv[1], "s", ("error",), {}, heartbeat=1, grace=2)
    print("begun", flush=True)
    storage.work(kept, strategy("evolution"), slow, 14, seed=5)
"""


def worker(storage, seconds):
    command = [sys.executable, "-c", textwrap.dedent(WORKER), storage, str(seconds)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, env=environment, cwd=ROOT, stdout=subprocess.PIPE)


@pytest.mark.exhaustive
@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_two_workers_one_of_them_killed(tmp_path, database, request):
    place = url(tmp_path) if database == "sqlite" else request.getfixturevalue(database)
    storage.open_study(place, "s", ("error",), {}, heartbeat=1, grace=2)
    stuck = worker(place, 600)  # takes one trial, and never ends it
    assert stuck.stdout.readline() == b"begun\n"
    kept = storage.open_study(place, "s", ("error",), {})
    for _ in range(200):
        if held := storage.history_of(kept):
            break
        time.sleep(0.05)
    stuck.send_signal(signal.SIGKILL)
    stuck.wait()
    other = worker(place, 0.3)
    assert other.wait(60) == 0
    history = storage.history_of(kept)
    assert all(trial.metrics is not None for trial in history)
    assert storage.different(history) == 14
    # What the dead one had taken was tried again, by the other, and nothing was lost.
    assert held[0].architecture in {trial.architecture for trial in history}
    retried = [t for t in kept.trials if t.system_attrs.get("failed_trial") == held[0].number]
    assert len(retried) == 1 and retried[0].state.name == "COMPLETE"


def test_trials_propose_one_after_another_and_not_too_many(tmp_path):
    """Two at once would have the same history and random numbers, so the same candidate."""
    study, seen = opened(tmp_path), []
    first = study.ask()  # of another worker, which is about to propose
    proposal = Proposal(("a", "b", "c", "d"))

    def other_worker():
        time.sleep(0.5)
        first.set_user_attr("proposal", proposal._asdict())
        while (
            len(storage.history_of(study)) < 2 or storage.different(storage.history_of(study)) < 1
        ):
            time.sleep(0.05)
        time.sleep(0.5)  # only its trial is under way
        first.set_user_attr("metrics", {"error": 1.0})
        study.tell(first, [1.0])

    def propose(history, rng):
        seen.append([trial.architecture for trial in history])
        return strategy("random")(history, rng)

    thread = threading.Thread(target=other_worker)
    thread.start()
    history = storage.work(study, propose, error, 2)
    thread.join()
    assert seen == [[proposal.architecture]]
    assert len(history) == storage.different(history) == 2
