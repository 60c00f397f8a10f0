"""Candidates that fail, tables that change, studies that are not ours."""

import math

import optuna
import pytest

from gpnas import commandline
from gpnas.errors import UserError
from gpnas.search import (
    STRATEGIES,
    Proposal,
    TooManyFailures,
    Trial,
    exhausted,
    load_table,
    search,
    simulate,
    storage,
)
from gpnas.search._table import digests
from tests.search.test_search_strategies import SPACE, error, strategy


def flawed(trial):
    """NaN, an exception or no metric for some architectures."""
    if trial.architecture[0] == "a":
        raise ValueError("cannot be built")
    found = error(trial)
    return found | {"error": math.nan} if trial.architecture[1] == "b" else found


def opened(folder, **settings):
    return storage.open_study(f"sqlite:///{folder}/s.db", "s", ("error",), settings)


def story(history):
    return [(t.architecture, t.metrics, t.failed, t.parent) for t in history]


@pytest.mark.parametrize("name", ["random", "evolution", "asha", "local", "lanas"])
def test_failures_are_recorded_and_not_proposed_again(name):
    found = search(strategy(name), flawed, 20, seed=3)
    failed = [t.architecture for t in found if t.failed is not None]
    assert failed and len(set(failed)) == len(failed)
    assert all((t.metrics is None) != (t.failed is None) for t in found)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["evolution", "asha"])
def test_resumed_with_failures_it_ends_as_one_that_was_not(tmp_path, name):
    whole = search(strategy(name), flawed, 14, seed=3)
    for evaluations in (4, 14):
        kept = opened(tmp_path)
        found = storage.work(kept, strategy(name), flawed, evaluations, seed=3)
    assert story(found) == story(whole)
    failed = [trial for trial in kept.trials if trial.state.name == "FAIL"]
    assert failed and all(trial.user_attrs["failed"] for trial in failed)


def nan(trial):
    return {"error": math.nan}


def test_failures_in_a_row_end_a_search(tmp_path):
    with pytest.raises(TooManyFailures, match="4 candidates failed in a row.*: error is nan"):
        search(strategy("random"), nan, 9, failures=4)
    for count in (4, 4, 6):
        with pytest.raises(TooManyFailures, match="error is nan"):
            storage.work(opened(tmp_path), strategy("random"), nan, 9, failures=count)
        assert len(opened(tmp_path).trials) == count


def test_an_edited_table_is_refused(tmp_path):
    table = tmp_path / "own.csv"
    table.write_text("depth,error,size\n1,3,1\n2,2,4\n")
    kept = opened(tmp_path)
    for _ in range(2):
        storage.check_digests(kept, digests(load_table(str(table), 1)))
    table.write_text("depth,error,size\n1,3,1\n2,9,4\n")
    with pytest.raises(UserError, match="other values of error'"):
        storage.check_digests(kept, digests(load_table(str(table), 1)))


def test_a_foreign_study_and_a_damaged_database(tmp_path):
    url = f"sqlite:///{tmp_path}/s.db"
    foreign = optuna.create_study(storage=url, study_name="s")
    foreign.optimize(lambda trial: 1.0, n_trials=1)
    with pytest.raises(UserError, match="a study that gpnas began"):
        opened(tmp_path)
    with pytest.raises(UserError, match="a study that gpnas began"):
        storage.join_study(url, "s")
    (tmp_path / "s.db").write_bytes(b"no database" * 1000)
    with pytest.raises(UserError, match="a database that can be reached") as raised:
        opened(tmp_path)
    assert "\n" not in str(raised.value)


@pytest.mark.exhaustive
def test_everything_fails_on_a_clock_and_a_space_is_exhausted():
    with pytest.raises(TooManyFailures, match="7 candidates failed in a row"):
        simulate(strategy("random"), nan, lambda trial: 1.0, 3, 99.0, failures=7)
    two = SPACE._replace(sample=lambda rng: ("a", "a", "a", str(rng.choice(["a", "b"]))))
    found = search(STRATEGIES["random"](two), error, 50)
    assert exhausted(found) and len({trial.architecture for trial in found}) == 2


def test_a_strategy_that_waits_for_nothing(tmp_path):
    def propose(history, rng):
        return None if len(history) == 2 else Proposal(SPACE.sample(rng))

    kept = storage.open_study(f"sqlite:///{tmp_path}/s.db", "s", ("error",), {})
    for run in (
        lambda: search(propose, error, 5),
        lambda: simulate(propose, error, lambda trial: 1.0, workers=1, until=9.0),
        lambda: storage.work(kept, propose, error, 5),
    ):
        with pytest.raises(UserError, match="strategy.name: got None, allowed: a proposal") as said:
            run()
        assert "\n" not in str(said.value)


def test_a_full_disk_under_a_database_is_an_error_of_the_disk(tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise optuna.exceptions.StorageInternalError("database or disk is full")

    monkeypatch.setattr(optuna, "create_study", full)
    with pytest.raises(OSError, match="no space left"):
        opened(tmp_path)


def test_a_config_of_another_command():
    searched = dict.fromkeys(("space", "objectives", "strategy", "evaluations"))
    commandline.check_kind(searched, "search")
    for command in ("train", "sweep"):
        with pytest.raises(UserError, match="the command search takes this one"):
            commandline.check_kind(searched, command)
    compared = dict.fromkeys(("space", "objectives", "arms", "seeds"))
    commandline.check_kind(compared, "search")
    with pytest.raises(UserError, match="the command search takes this one"):
        commandline.check_kind(compared, "sweep")


def test_a_space_whose_cost_raises_fails_that_candidate():
    def cost(architecture):
        return {"size": error(Trial(0, architecture))["size"] / (architecture[0] != "b")}

    def evaluate(trial):
        return error(trial) | cost(trial.architecture)

    propose = STRATEGIES["lemonade"](
        SPACE._replace(cost=cost), objectives=("error", "size"), first=4
    )
    found = search(propose, evaluate, 30)
    failed = [trial for trial in found if trial.failed is not None]
    assert failed and all("ZeroDivisionError" in trial.failed for trial in failed)
    assert {trial.architecture[0] for trial in failed} == {"b"}


@pytest.mark.slow
def test_an_interruption_is_no_fault_of_the_candidate(tmp_path):
    whole = search(strategy("evolution"), error, 8, seed=3)
    left = [2, 3, 1]  # evaluations before each interruption

    def interrupted(trial):
        if left and (left.append(left.pop() - 1) or left[-1] < 0):
            left.pop()
            raise KeyboardInterrupt
        return error(trial)

    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            storage.work(opened(tmp_path), strategy("evolution"), interrupted, 8, seed=3)
    kept = opened(tmp_path)
    dead = [t for t in kept.trials if t.state.name == "FAIL"]
    assert len(dead) == 3 and all(t.user_attrs["interrupted"] for t in dead)
    kept.add_trial(
        optuna.trial.create_trial(
            state=optuna.trial.TrialState.FAIL, user_attrs=dead[0].user_attrs,
            system_attrs={"retry_history": [0, 1, 2]},
        )
    )  # fmt: skip
    found = storage.work(kept, strategy("evolution"), error, 8, seed=3)
    assert [(t.architecture, t.metrics) for t in found] == [
        (t.architecture, t.metrics) for t in whole
    ]
