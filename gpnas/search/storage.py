"""Searches in Optuna's storage, by one worker or many; they can be resumed.

Optuna keeps the trials, their heartbeats, and the retries of those whose worker died; strategies
propose the architectures. `optuna-dashboard` shows such a study.
"""

import contextlib
import functools
import json
import pathlib
import time
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import optuna
from absl import logging
from optuna.exceptions import UpdateFinishedTrialError

from gpnas.errors import UserError
from gpnas.search._database import KEPT, must_exist, reached
from gpnas.search._history import History, Propose, Trial, rooted
from gpnas.search._outcome import (
    FAILURES,
    Outcome,
    ask,
    attempt,
    check_failures,
    completed,
    exhausted,
)
from gpnas.search._resume import check_same
from gpnas.search._run import randomness
from gpnas.search._space import frozen

HEARTBEAT, GRACE = 5, 20  # seconds; a worker without a heartbeat for the latter counts as dead
_RETRIES = 2  # of a trial whose worker died; after the third death it has failed
_POLL = 0.2  # seconds between looks at whether what a strategy waits for has ended
_LIVE = (
    optuna.trial.TrialState.COMPLETE,
    optuna.trial.TrialState.RUNNING,
    optuna.trial.TrialState.WAITING,
    optuna.trial.TrialState.FAIL,  # with a reason; without one, it was given to another worker
)


class _TrialFailed(RuntimeError):
    """Makes Optuna record a trial as failed."""


def open_study(
    storage: str,
    name: str,
    objectives: Sequence[str],
    settings: Mapping[str, Any],
    heartbeat: int = HEARTBEAT,
    grace: int = GRACE,
    maximised: Collection[str] = (),
) -> optuna.Study:
    """Creates a study, or resumes one with the same settings (its length may differ).

    Args:
      storage: URL of a database, as SQLAlchemy reads it.
      name: The study's.
      objectives: Names of what is minimised, or maximised.
      settings: JSON data that says what is searched and how; kept with the study.
      heartbeat: Heartbeat interval in seconds.
      grace: Seconds without a heartbeat after which a trial is retried by another worker.
      maximised: Metrics of which higher values are better.

    Raises:
      UserError: If the database cannot be reached, or the study is another one.
    """
    down, up = optuna.study.StudyDirection.MINIMIZE, optuna.study.StudyDirection.MAXIMIZE
    directions = [up if name in maximised else down for name in objectives]
    with reached(storage):
        kept = _storage(storage, heartbeat, grace)
        study = optuna.create_study(
            storage=kept, study_name=name, directions=directions,
            sampler=optuna.samplers.RandomSampler(), load_if_exists=True,
        )  # fmt: skip
        before = study.user_attrs.get("settings")
        now = json.loads(json.dumps(settings))
        if before is None:
            if study.get_trials(deepcopy=False) or len(study.directions) != len(objectives):
                raise UserError("name", name, "a study that gpnas began, or a name not yet used")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                study.set_metric_names(list(objectives))
            study.set_user_attr("settings", now)
        else:
            check_same(before, now)
            if before != now:  # workers that join from now on take the new numbers
                study.set_user_attr("settings", now)
        return study


def join_study(
    storage: str, name: str, heartbeat: int = HEARTBEAT, grace: int = GRACE
) -> tuple[optuna.Study, dict[str, Any]]:
    """A study that another process began, and its settings.

    Raises:
      UserError: If the database cannot be reached, or has no such study.
    """
    with reached(storage):
        must_exist(storage)
        kept = _storage(storage, heartbeat, grace)
        names = optuna.get_all_study_names(kept)
        if name not in names:
            raise UserError("name", name, ", ".join(names) or "a study that was begun")
        study = optuna.load_study(
            study_name=name, storage=kept, sampler=optuna.samplers.RandomSampler()
        )
        if "settings" not in study.user_attrs:
            raise UserError("name", name, "a study that gpnas began")
        return study, study.user_attrs["settings"]


@reached(KEPT)
def check_digests(study: optuna.Study, digests: Mapping[str, str]) -> None:
    """Makes sure that what a search reads is what its study began with; the first call keeps it.

    Args:
      study: As `open_study` or `join_study` gives it.
      digests: SHA-256 by name: of a table's columns, or of the data set.

    Raises:
      UserError: If one has changed since, as old and new values would be mixed; names it.
    """
    before = study.user_attrs.get("digests")
    if before is None:
        if digests:
            study.set_user_attr("digests", dict(digests))
        return
    names = dict.fromkeys([*before, *digests])
    changed = [name or "architectures" for name in names if before.get(name) != digests.get(name)]
    if changed:
        allowed = "those with which the study began; restore them, or choose another --name"
        raise UserError("space", f"other values of {', '.join(changed)}", allowed)


def history_of(study: optuna.Study) -> list[Trial]:
    """The trials that are evaluated, under way or failed; those of dead workers are left out."""
    trials = study.get_trials(deepcopy=False, states=_LIVE)
    dead = optuna.trial.TrialState.FAIL
    return [
        _trial(trial)
        for trial in trials
        if "proposal" in trial.user_attrs and (trial.state != dead or _failure(trial))
    ]


def work(
    study: optuna.Study,
    propose: Propose,
    evaluate: Callable[[Trial], Outcome],
    objectives: Sequence[str],
    evaluations: int,
    seed: int = 0,
    enough: Callable[[History], bool] = lambda history: False,
    failures: int = FAILURES,
) -> list[Trial]:
    """Evaluates proposals of a strategy beside other workers, until the search ends.

    Args:
      study: As `open_study` or `join_study` gives it.
      propose, evaluate, seed: As for `search`.
      objectives: Metrics that are the values of Optuna's trials; all others are kept too.
      evaluations: Number of distinct evaluations by all workers.
      enough: `history → whether to end before that`.
      failures: Number of failures in a row, by all workers, after which the search ends.

    Returns:
      The history. The trial of a worker that died was tried again.

    Raises:
      TooManyFailures: After `failures` failures in a row.
      UserError: If the database cannot be read any more.
      OSError: If its disk is full.
    """

    def objective(trial: optuna.Trial) -> list[float]:
        past = _others(study, trial)
        if "proposal" not in trial.user_attrs:  # else a dead worker's, to be tried again
            past = _ask(study, trial, propose, seed, past)
        done = _completed(trial, past, evaluate, objectives)
        assert done.metrics is not None
        return [done.metrics[name] for name in objectives]

    def ended(history: History) -> bool:
        if different(history) >= evaluations or enough(history) or exhausted(history):
            return True
        check_failures(history, failures)
        return False

    with reached(KEPT):
        while not ended(history_of(study)):
            _run_one(study, objective)
        return history_of(study)


def _completed(
    trial: optuna.Trial,
    past: Sequence[Trial],
    evaluate: Callable[[Trial], Outcome],
    objectives: Sequence[str],
) -> Trial:
    """Evaluates a trial, or copies the outcome of an earlier one, and keeps it with the study.

    Raises:
      _TrialFailed: If it failed.
    """
    asked = _trial(trial)
    twin = _find(past, asked)
    if twin is not None:
        trial.set_user_attr("repeats", twin.number)
        done = asked._replace(metrics=twin.metrics, failed=twin.failed)
    else:
        evaluation = functools.partial(evaluate, rooted(past, asked))
        done = completed(asked, attempt(evaluation), objectives)
    if done.failed is not None:
        trial.set_user_attr("failed", done.failed)
        raise _TrialFailed(done.failed)
    trial.set_user_attr("metrics", dict(done.metrics or {}))
    return done


def _run_one(study: optuna.Study, objective: Callable[[optuna.Trial], list[float]]) -> None:
    """Runs one trial; if it was given to another worker meanwhile, its outcome is dropped."""
    numbers: list[int] = []
    raised: list[BaseException] = []

    def one(trial: optuna.Trial) -> list[float]:
        numbers.append(trial.number)
        try:
            return objective(trial)
        except BaseException as error:
            raised.append(error)
            if isinstance(error, KeyboardInterrupt):
                # Optuna records a failure, which is no fault of the candidate.
                with contextlib.suppress(UpdateFinishedTrialError):
                    trial.set_user_attr("interrupted", True)
            raise

    try:
        study.optimize(one, n_trials=1, catch=(_TrialFailed,))
    except (UpdateFinishedTrialError, ValueError):  # the latter: Optuna told of a finished trial
        if not numbers:
            raise
        if raised and not isinstance(raised[0], _TrialFailed | UpdateFinishedTrialError):
            raise raised[0] from None
        logging.warning(
            "trial %d was given to another worker while this one was silent: its result is dropped",
            numbers[0],
        )


@reached(KEPT)
def wait_for_stale_trials(study: optuna.Study, grace: int = GRACE) -> int:
    """Waits until trials that a dead process left are given back; returns how many there were."""
    running = (optuna.trial.TrialState.RUNNING,)
    left = len(study.get_trials(deepcopy=False, states=running))
    if left:
        time.sleep(grace + 1)
        optuna.storages.fail_stale_trials(study)
    return left


@reached(KEPT)
def attach(study: optuna.Study, path: pathlib.Path, store: pathlib.Path) -> None:
    """Gives a study a file, once by its name; `optuna-dashboard --artifact-dir` shows it.

    Args:
      study: As `open_study` gives it.
      path: The file.
      store: Folder in which Optuna keeps the files of a study.
    """
    if path.name in {meta.filename for meta in optuna.artifacts.get_all_artifact_meta(study)}:
        return
    store.mkdir(parents=True, exist_ok=True)
    optuna.artifacts.upload_artifact(
        artifact_store=optuna.artifacts.FileSystemArtifactStore(str(store)),
        file_path=str(path),
        study_or_trial=study,
    )


def different(history: History) -> int:
    """Number of distinct evaluations: pairs of an architecture and a budget."""
    return len({(t.architecture, t.budget) for t in history if t.metrics is not None})


def _ask(
    study: optuna.Study, trial: optuna.Trial, propose: Propose, seed: int, past: list[Trial]
) -> list[Trial]:
    """Gives the trial a proposal; returns the history that it was made from."""
    while True:
        earlier = sum(other.number < trial.number for other in past)
        proposal = ask(propose, past, randomness(seed, earlier))
        if proposal is not None:
            trial.set_user_attr("proposal", proposal._asdict())
            return past
        time.sleep(_POLL)
        past = _others(study, trial)


def _others(study: optuna.Study, trial: optuna.Trial) -> list[Trial]:
    return [other for other in history_of(study) if other.number != trial.number]


def _find(history: History, asked: Trial) -> Trial | None:
    """The first evaluation of the same, if there is one."""
    for trial in history:
        same = (trial.architecture, trial.budget) == (asked.architecture, asked.budget)
        ended = trial.metrics is not None or trial.failed is not None
        if same and ended and trial.repeats is None:
            return trial
    return None


def _trial(trial: optuna.Trial | optuna.trial.FrozenTrial) -> Trial:
    kept = trial.user_attrs
    asked = kept["proposal"]
    return Trial(
        trial.number, frozen(asked["architecture"]), kept.get("metrics"), asked["parent"],
        kept.get("repeats"), asked["budget"], _failure(trial),
    )  # fmt: skip


def _failure(trial: optuna.Trial | optuna.trial.FrozenTrial) -> str | None:
    """Why a trial failed; None if it did not, or if another worker was given it."""
    retries = len(getattr(trial, "system_attrs", {}).get("retry_history", ()))
    dead = getattr(trial, "state", None) == optuna.trial.TrialState.FAIL
    if dead and retries >= _RETRIES and "interrupted" not in trial.user_attrs:
        return trial.user_attrs.get("failed", f"its worker died, {_RETRIES + 1} times")
    return trial.user_attrs.get("failed")


def _storage(url: str, heartbeat: int, grace: int) -> optuna.storages.RDBStorage:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        retry = optuna.storages.RetryHeartbeatStaleTrialCallback(max_retry=_RETRIES)
        return optuna.storages.RDBStorage(
            url, heartbeat_interval=heartbeat, grace_period=grace,
            heartbeat_stale_trial_callback=retry,
        )  # fmt: skip
