"""Optuna's storage as a queue shared by workers: heartbeats, and retries of dead workers'
trials."""

import contextlib
import datetime
import json
import time
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import optuna
from absl import logging
from optuna.exceptions import ExperimentalWarning, UpdateFinishedTrialError

from gpnas.errors import UserError
from gpnas.search._database import KEPT, must_exist, reached
from gpnas.search._resume import check_settings_unchanged

HEARTBEAT, GRACE = 5, 20  # seconds; a worker counts as dead after GRACE without a heartbeat
_BEGUN = "begun"  # attribute of a trial whose heartbeats have begun: its number
_RETRIES = 2  # of a trial whose worker died; the third death fails it


class TrialFailed(RuntimeError):
    """Makes Optuna record a trial as failed; the worker continues."""


def open_study(
    storage: str,
    name: str,
    objectives: Sequence[str],
    settings: Mapping[str, Any],
    heartbeat: int = HEARTBEAT,
    grace: int = GRACE,
    maximised: Collection[str] = (),
) -> optuna.Study:
    """Creates a study, or resumes one with the same settings.

    The number of evaluations may differ.

    Args:
      storage: Database URL of SQLAlchemy.
      name: Name of the study.
      objectives: Names of the objectives.
      settings: JSON data that define the search; stored with the study.
      heartbeat: Heartbeat interval in seconds.
      grace: Seconds without a heartbeat after which a trial is retried by another worker.
      maximised: Metrics to be maximised.

    Raises:
      UserError: If the database cannot be reached, or the study has other settings.
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
            with warnings.catch_warnings(action="ignore", category=ExperimentalWarning):
                study.set_metric_names(list(objectives))
            study.set_user_attr("settings", now)
        else:
            check_settings_unchanged(before, now)
            if before != now:  # workers that join from now on take the new numbers
                study.set_user_attr("settings", now)
        return study


def join_study(
    storage: str, name: str | None, heartbeat: int = HEARTBEAT, grace: int = GRACE
) -> tuple[optuna.Study, dict[str, Any]]:
    """Opens an existing study and returns it with its settings.

    Args:
      storage, heartbeat, grace: As for `open_study`.
      name: Name of the study; None for the only one.

    Raises:
      UserError: If the database cannot be reached, or has no such study.
    """
    with reached(storage):
        must_exist(storage)
        kept = _storage(storage, heartbeat, grace)
        names = optuna.get_all_study_names(kept)
        name = names[0] if name is None and len(names) == 1 else name
        if name not in names:
            raise UserError("name", name, ", ".join(names) or "an existing study")
        study = optuna.load_study(
            study_name=name, storage=kept, sampler=optuna.samplers.RandomSampler()
        )
        if "settings" not in study.user_attrs:
            raise UserError("name", name, "a study that gpnas began")
        return study, study.user_attrs["settings"]


def run_one(study: optuna.Study, objective: Callable[[optuna.Trial], list[float]]) -> None:
    """Runs one trial; drops its outcome if the trial was reassigned to another worker meanwhile."""
    numbers: list[int] = []
    raised: list[BaseException] = []

    def one(trial: optuna.Trial) -> list[float]:
        numbers.append(trial.number)
        try:
            trial.set_user_attr(_BEGUN, trial.number)  # a retry has the attributes of its trial
            return objective(trial)
        except BaseException as error:
            raised.append(error)
            if not isinstance(error, TrialFailed):
                # Optuna records a failure, though the candidate did not fail.
                with contextlib.suppress(UpdateFinishedTrialError):
                    trial.set_user_attr("interrupted", True)
            raise

    try:
        study.optimize(one, n_trials=1, catch=(TrialFailed,))
    except (UpdateFinishedTrialError, ValueError):  # ValueError: Optuna's, for a finished trial
        if not numbers:
            raise
        if raised and not isinstance(raised[0], TrialFailed | UpdateFinishedTrialError):
            raise raised[0] from None
        logging.warning(
            "trial %d was given to another worker while this one was silent: its result is dropped",
            numbers[0],
        )


@reached(KEPT)
def wait_for_stale_trials(study: optuna.Study) -> int:
    """Waits until the trials of dead workers are requeued; returns their number."""
    running = (optuna.trial.TrialState.RUNNING,)
    left = len(study.get_trials(deepcopy=False, states=running))
    if left:
        time.sleep(GRACE + 1)
        give_back_stale_trials(study)
    return left


def give_back_stale_trials(study: optuna.Study) -> None:
    """Puts the trials of dead workers back into the queue."""
    with warnings.catch_warnings(action="ignore", category=ExperimentalWarning):
        optuna.storages.fail_stale_trials(study)
    # A worker may have died before its first heartbeat; for Optuna, its trial is not stale.
    for trial in study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,)):
        begun = trial.user_attrs.get(_BEGUN) == trial.number
        if not begun and older_than_grace(trial.datetime_start):
            with contextlib.suppress(UpdateFinishedTrialError, ValueError):  # another was faster
                study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
                study.enqueue_trial({}, user_attrs=trial.user_attrs)


def older_than_grace(moment: datetime.datetime | None) -> bool:
    """Returns whether a time of Optuna, which is local, was more than `GRACE` seconds ago."""
    return moment is not None and (datetime.datetime.now() - moment).total_seconds() > GRACE


def failure_of(trial: optuna.Trial | optuna.trial.FrozenTrial) -> str | None:
    """Returns why a trial failed; None if it did not, or if it was reassigned to another worker."""
    retries = len(getattr(trial, "system_attrs", {}).get("retry_history", ()))
    dead = getattr(trial, "state", None) == optuna.trial.TrialState.FAIL
    if dead and retries >= _RETRIES and "interrupted" not in trial.user_attrs:
        return trial.user_attrs.get("failed", f"its worker died, {_RETRIES + 1} times")
    return trial.user_attrs.get("failed")


def _storage(url: str, heartbeat: int, grace: int) -> optuna.storages.RDBStorage:
    with warnings.catch_warnings(action="ignore", category=ExperimentalWarning):
        retry = optuna.storages.RetryHeartbeatStaleTrialCallback(max_retry=_RETRIES)
        return optuna.storages.RDBStorage(
            url, heartbeat_interval=heartbeat, grace_period=grace,
            heartbeat_stale_trial_callback=retry,
        )  # fmt: skip
