"""Studies of `gpnas.train.study` in a database: several machines share their runs.

Runs that train together are one trial of Optuna's storage. The process that begins a sweep fills
the queue and workers take runs from it. A dead worker's run is resumed by another worker from its
last checkpoint, so all need the same work directory and results folder.
"""

import time
from collections.abc import Callable
from typing import Any

import jax
import optuna
from ml_collections import ConfigDict

from gpnas import _stop
from gpnas._files import PathLike
from gpnas.data import Dataset
from gpnas.errors import GaveUp, UserError, check_unchanged
from gpnas.search._database import KEPT, reached
from gpnas.search._queue import (
    GRACE,
    HEARTBEAT,
    TrialFailed,
    failure_of,
    give_back_stale_trials,
    join_study,
    older_than_grace,
    open_study,
)
from gpnas.search._queue import run_one as run_trial
from gpnas.train import (
    Diverged,
    InUse,
    RunGroup,
    Stopped,
    config_from_json,
    config_key,
    data_of,
    missing_groups,
    run_group,
)

_QUEUED = "as in the queue; or another config.study or database"
_POLL = 1.0  # seconds between polls of the queue
#: Field of a study's settings: the name of the sweep.
KIND = "sweep"
_State = optuna.trial.TrialState


def queue_runs(
    storage: str,
    config: ConfigDict,
    workdir: PathLike,
    results: PathLike,
    heartbeat: int = HEARTBEAT,
    grace: int = GRACE,
) -> optuna.Study:
    """Queues the runs of a study that have no record yet.

    Args:
      storage: Database URL of SQLAlchemy.
      config: Config from `gpnas.train.study`.
      workdir, results: As for `gpnas.train.run_study`.
      heartbeat, grace: As for `storage.open_study`.

    Raises:
      UserError: If the database cannot be reached, the config of any run is invalid, its folder
        contains another run, or the run is in the queue with other settings; nothing is queued.
    """
    groups = missing_groups(config, workdir, results)
    study = open_study(storage, config.study, ("wall_s",), {KIND: config.study}, heartbeat, grace)
    with reached(KEPT):
        queued = {
            (name, one.seed): config_key(one.to_dict())
            for (name, _), trial in _last_trials(study).items()
            if not trial.state.is_finished()
            for one in _configs(trial.user_attrs["job"])
        }
        for group in groups:
            for one in group.configs:
                now = config_key(one.to_dict())
                check_unchanged(queued.get((group.name, one.seed), now), now, _QUEUED)
        for group in groups:
            seeds = [one.seed for one in group.configs if (group.name, one.seed) not in queued]
            if seeds:
                job = {
                    "name": group.name,
                    "seeds": seeds,
                    "config": group.configs[0].to_dict(),
                    "dataset_sha256": group.data.sha256,
                }
                study.enqueue_trial({}, user_attrs={"job": job})
    return study


def join(
    storage: str, name: str | None = None, heartbeat: int = HEARTBEAT, grace: int = GRACE
) -> optuna.Study:
    """Opens an existing sweep.

    Args:
      storage, heartbeat, grace: As for `queue_runs`.
      name: Name of the study; None for the only one in the database.

    Raises:
      UserError: If the database cannot be reached, or has no such sweep.
    """
    study, about = join_study(storage, name, heartbeat, grace)
    if KIND not in about:
        raise UserError("name", study.study_name, "a sweep; search --storage takes this")
    return study


def take_runs(
    study: optuna.Study,
    workdir: PathLike,
    results: PathLike,
    stopped: Callable[[], bool] | None = None,
) -> None:
    """Trains runs of a sweep alongside other workers until all have ended.

    Args:
      study: From `queue_runs` or `join`.
      workdir, results: As for `queue_runs`; the same for all workers.
      stopped: `() → bool`, whether to stop; by default, whether SIGTERM or SIGINT was received.

    Raises:
      GaveUp: If runs diverged or their workers died three times; the message names them.
      UserError, Stopped: As `train`; the run is requeued for other workers.
    """
    if stopped is None:
        with _stop.stop_signal() as stopped:
            return take_runs(study, workdir, results, stopped)
    images: dict[str, Dataset] = {}
    ended: list[BaseException] = []

    def objective(trial: optuna.Trial) -> list[float]:
        job = trial.user_attrs.get("job")
        if job is None:
            raise TrialFailed("another worker was faster")
        try:
            records = run_group(_group(job, images), workdir, results, stopped)
        except Diverged as error:
            trial.set_user_attr("failed", str(error))
            raise TrialFailed from error
        except BaseException as error:
            ended.append(error)
            trial.set_user_attr("interrupted", True)
            study.enqueue_trial({}, user_attrs={"job": job})
            raise TrialFailed from error
        trial.set_user_attr("metrics", [record["metrics"] for record in records])
        return [max(record["wall_s"] for record in records)]

    while states := _unfinished(study):
        if stopped():
            raise Stopped("stopped before the next run")
        if _State.WAITING in states:
            with reached(KEPT):
                run_trial(study, objective)
            jax.clear_caches()  # otherwise memory holds the programs of all settings
        if ended and not isinstance(ended[-1], InUse):
            raise ended[-1]
        if ended:  # the folder is in use: the run was reassigned while its worker is alive
            ended.clear()
            _wait(GRACE, stopped)
        elif _State.WAITING not in states:
            _wait(_POLL, stopped)
    if failed := _failures(study):
        raise GaveUp("; ".join(failed))


def _wait(seconds: float, stopped: Callable[[], bool]) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end and not stopped():
        time.sleep(_POLL)


@reached(KEPT)
def _unfinished(study: optuna.Study) -> set[Any]:
    """Returns which non-final states occur; trials of dead workers are requeued first."""
    give_back_stale_trials(study)
    unfinished = (_State.WAITING, _State.RUNNING)
    if trials := study.get_trials(deepcopy=False, states=unfinished):
        return {trial.state for trial in trials}
    # A worker may die between failing the trial of another dead worker and requeueing it.
    lost = {trial.number: trial for trial in _last_trials(study).values() if _is_lost(trial)}
    for trial in lost.values():
        if older_than_grace(trial.datetime_complete):
            study.enqueue_trial({}, user_attrs={"job": trial.user_attrs["job"]})
    return {_State.RUNNING} if lost else set()


def _is_lost(trial: optuna.trial.FrozenTrial) -> bool:
    return trial.state == _State.FAIL and failure_of(trial) is None


def _last_trials(study: optuna.Study) -> dict[tuple[str, int], Any]:
    """Returns the last trial of each run, by the name of its setting and its seed."""
    return {
        (job["name"], seed): trial
        for trial in study.get_trials(deepcopy=False)
        if (job := trial.user_attrs.get("job")) is not None
        for seed in job["seeds"]
    }


def _group(job: dict[str, Any], images: dict[str, Dataset]) -> RunGroup:
    """Returns the runs of a job.

    Raises:
      UserError: If the data differ from those of the machine that began the sweep.
    """
    configs = _configs(job)
    data = data_of(configs[0], images)
    if data.sha256 != job["dataset_sha256"]:
        allowed = f"{job['dataset_sha256']}, as where the sweep was begun"
        raise UserError("dataset_sha256", data.sha256, allowed)
    return RunGroup(job["name"], configs, data)


def _configs(job: dict[str, Any]) -> list[ConfigDict]:
    return [config_from_json(job["config"] | {"seed": n}) for n in job["seeds"]]


@reached(KEPT)
def _failures(study: optuna.Study) -> list[str]:
    """Returns why runs have no record: the outcome of the last trial of each."""
    last = _last_trials(study).values()
    failed = {t.number: t for t in last if t.state == _State.FAIL and failure_of(t)}
    return [
        f"{trial.user_attrs['job']['name']}, seeds {trial.user_attrs['job']['seeds']}:"
        f" {failure_of(trial)}"
        for trial in failed.values()
    ]
