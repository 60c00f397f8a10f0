"""Resumable searches in Optuna's storage, by one or more workers.

Optuna stores trials and heartbeats and retries the trials of dead workers; strategies propose the
architectures. `optuna-dashboard` displays such a study.
"""

import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import optuna

from gpnas._files import PathLike, tuples
from gpnas.errors import UserError
from gpnas.search._database import KEPT, reached
from gpnas.search._database import sqlite_url as sqlite_url
from gpnas.search._group import Place, run_several
from gpnas.search._history import History, Propose, Trial, rooted
from gpnas.search._outcome import FAILURES, ask, check_failures, check_wait, completed, exhausted
from gpnas.search._queue import TrialFailed, failure_of, give_back_stale_trials
from gpnas.search._queue import join_study as join_study
from gpnas.search._queue import open_study as open_study
from gpnas.search._queue import wait_for_stale_trials as wait_for_stale_trials
from gpnas.search._resume import check_settings_unchanged as check_settings_unchanged
from gpnas.search._run import Evaluate, EvaluateAll, each, randomness

_POLL = 0.2  # seconds between polls of the trials a strategy waits for
_State = optuna.trial.TrialState
# A failed trial has a reason; one without was reassigned.
_LIVE = (_State.COMPLETE, _State.RUNNING, _State.WAITING, _State.FAIL)


@reached(KEPT)
def check_digests(study: optuna.Study, digests: Mapping[str, str]) -> None:
    """Checks that the inputs of a search are those its study began with.

    The first call for a study stores them.

    Args:
      study: From `open_study` or `join_study`.
      digests: SHA-256 by name: of a table's columns, or of the data set.

    Raises:
      UserError: If one has changed, since old and new values would be mixed; the message names it.
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
    """Returns the evaluated, running and failed trials, without those of dead workers."""
    trials = study.get_trials(deepcopy=False, states=_LIVE)
    return [
        _trial(trial)
        for trial in trials
        if "proposal" in trial.user_attrs and (trial.state != _State.FAIL or failure_of(trial))
    ]


def work(
    study: optuna.Study,
    propose: Propose,
    evaluate: Evaluate,
    evaluations: int,
    seed: int = 0,
    failures: int = FAILURES,
) -> list[Trial]:
    """Evaluates a strategy's proposals alongside other workers until the search ends.

    Args:
      study: From `open_study` or `join_study`.
      propose, evaluate, seed: As for `search`.
      evaluations: Number of distinct evaluations of all workers.
      failures: Number of consecutive failures of all workers after which the search ends.

    Returns:
      The history. Trials of dead workers were retried.

    Raises:
      TooManyFailures, UserError, OSError: As `work_together`.
    """
    return work_together(study, propose, each(evaluate), evaluations, seed=seed, failures=failures)


def work_together(
    study: optuna.Study,
    propose: Propose,
    evaluate: EvaluateAll,
    evaluations: int,
    enough: Callable[[History], bool] = lambda history: False,
    together: int = 1,
    seed: int = 0,
    failures: int = FAILURES,
) -> list[Trial]:
    """Works on a search as `work` does, with several candidates evaluated together.

    A single worker makes the same proposals as `search_together`.

    Args:
      study, propose, evaluations, seed, failures: As for `work`.
      evaluate: `trials → metrics` of each (lower is better), or `Failed`. The study's objectives
        are stored as values of Optuna's trials; all other metrics are stored as attributes.
      enough: `history → whether to end early`, called before each group of candidates.
      together: Number of candidates per evaluation.

    Returns:
      The history. Trials of dead workers were retried.

    Raises:
      TooManyFailures: After `failures` consecutive failures.
      UserError: If the database can no longer be read, or the strategy proposes nothing although
        no trial is under way.
      OSError: If its disk is full.
    """
    objectives = tuple(study.metric_names or ())

    def objective(trial: optuna.Trial, place: Place) -> list[float]:
        if "proposal" in trial.user_attrs:  # a dead worker's, which is retried
            past = _others(study, trial)
        else:
            past = _ask(study, trial, propose, evaluations, seed, place)
        asked = _trial(trial)
        first = _find(past, asked) or place.evaluated(rooted(past, asked))
        if first.number != asked.number:
            trial.set_user_attr("repeats", first.number)
        if first.failed is not None:
            trial.set_user_attr("failed", first.failed)
            raise TrialFailed(first.failed)
        metrics = dict(first.metrics or {})
        trial.set_user_attr("metrics", metrics)
        return [metrics[name] for name in objectives]

    def outcomes(trials: Sequence[Trial]) -> list[Trial]:
        ended = zip(trials, evaluate(trials), strict=True)
        return [completed(trial, outcome, objectives) for trial, outcome in ended]

    with reached(KEPT):
        while True:
            history = history_of(study)
            made = different(history)
            if made >= evaluations or enough(history) or exhausted(history):
                return history
            check_failures(history, failures)
            run_several(study, objective, outcomes, min(together, evaluations - made))


@reached(KEPT)
def attach(study: optuna.Study, path: PathLike, store: PathLike) -> None:
    """Attaches a file to a study, once per name; `optuna-dashboard --artifact-dir` displays it.

    Args:
      study: From `open_study`.
      path: The file.
      store: Folder of Optuna's artifacts.
    """
    path, store = pathlib.Path(path), pathlib.Path(store)
    if path.name in {meta.filename for meta in optuna.artifacts.get_all_artifact_meta(study)}:
        return
    store.mkdir(parents=True, exist_ok=True)
    optuna.artifacts.upload_artifact(
        artifact_store=optuna.artifacts.FileSystemArtifactStore(str(store)),
        file_path=str(path),
        study_or_trial=study,
    )


def different(history: History) -> int:
    """Returns the number of distinct evaluations: pairs of an architecture and a budget."""
    return len(_candidates([trial for trial in history if trial.metrics is not None]))


def _candidates(history: History) -> set[tuple[Any, int]]:
    """Returns architecture and budget of the trials that have not failed."""
    return {(trial.architecture, trial.budget) for trial in history if trial.failed is None}


def _ask(
    study: optuna.Study,
    trial: optuna.Trial,
    propose: Propose,
    evaluations: int,
    seed: int,
    place: Place,
) -> list[Trial]:
    """Stores a proposal for the trial; returns the history that it is based on.

    Trials propose in order of their numbers. Two at once would have the same history and the same
    random numbers, and propose the same candidate.

    Raises:
      TrialFailed: If the strategy must wait for trials of the same group, or while a dead worker's
        trial is queued for a retry; if the worker or the search ends.
      UserError: If it waits although no trial is under way.
    """
    while True:
        ahead = _proposing(study, trial.number)
        if not ahead:
            past = _others(study, trial)
            earlier = sum(other.number < trial.number for other in past)
            left = evaluations - len(_candidates(past))  # without those under way
            proposal = ask(propose, past, randomness(seed, earlier)) if left > 0 else None
            if proposal is not None:
                trial.set_user_attr("proposal", proposal._asdict())
                return past
            if "waits" not in trial.user_attrs:
                trial.set_user_attr("waits", True)
        waits = not ahead or any("waits" in other.user_attrs for other in ahead)
        if waits and not place.first:  # those before it are evaluated first
            place.closed.set()
        if place.closed.wait(_POLL):
            raise TrialFailed("the strategy waits for trials of this group, or the worker ends")
        give_back_stale_trials(study)
        if study.get_trials(deepcopy=False, states=(_State.WAITING,)):
            raise TrialFailed("a dead worker's trial comes first")  # this one may wait for it
        if not ahead:
            now = _others(study, trial)
            if different(now) >= evaluations:
                raise TrialFailed("the search ends")
            check_wait([*past, *now])  # a trial that is being requeued is in neither for a moment


def _proposing(study: optuna.Study, number: int) -> list[optuna.trial.FrozenTrial]:
    """Returns the trials of lower numbers that have no proposal yet."""
    return [
        trial
        for trial in study.get_trials(deepcopy=False, states=(_State.RUNNING,))
        if trial.number < number and "proposal" not in trial.user_attrs
    ]


def _others(study: optuna.Study, trial: optuna.Trial) -> list[Trial]:
    return [other for other in history_of(study) if other.number != trial.number]


def _find(history: History, asked: Trial) -> Trial | None:
    """Returns the first evaluation of the same architecture and budget, if any."""
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
        trial.number, tuples(asked["architecture"]), kept.get("metrics"), asked["parent"],
        kept.get("repeats"), asked["budget"], failure_of(trial),
    )  # fmt: skip
