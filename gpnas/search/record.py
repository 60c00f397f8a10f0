"""Records of searches: settings, trajectory and best architectures."""

import contextlib
import json
import pathlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from gpnas._files import PathLike, append_line, make_folder, read_lines
from gpnas.errors import explained
from gpnas.provenance import provenance
from gpnas.search import pareto
from gpnas.search._config import search_key
from gpnas.search._history import History, Trial, minimised
from gpnas.search._outcome import TooManyFailures
from gpnas.search.build import Search
from gpnas.search.training import total_steps


def describe_search(settings: dict[str, Any], arm: str) -> dict[str, Any]:
    """Returns the part of a record known before the first trial.

    Args:
      settings: Settings of the search, as in its config.
      arm: Name of the search in its study.
    """
    return {
        "study": settings.get("study", "search"),
        "arm": arm,
        "config": settings,
        "seed": settings["seed"],
        **provenance(),
    }


def settings_key(settings: Mapping[str, Any]) -> str:
    """Returns a key that is equal for equal settings; tuples and lists are the same.

    The limit on failures is left out, since it does not change a completed search.
    """
    own = {field: value for field, value in search_key(settings).items() if field != "failures"}
    return json.dumps(own, sort_keys=True)


def append_missing(
    path: PathLike,
    searches: Iterable[tuple[str, dict[str, Any]]],
    run: Callable[[str, dict[str, Any]], Mapping[str, Any]],
) -> None:
    """Runs the searches without a record and appends their records.

    Args:
      path: File of records, JSON lines.
      searches: `(arm, settings)` of each.
      run: `(arm, settings) → record`.

    Raises:
      TooManyFailures: As a search; the message names arm and seed.
    """
    path = pathlib.Path(path)
    kinds = KeyError, AttributeError, TypeError, ValueError
    with explained("results", str(path), "records of searches", *kinds):
        done = {settings_key(record["config"]) for record in read_lines(path)}
    make_folder(path.parent, "results")
    for arm, settings in searches:
        if settings_key(settings) not in done:
            with naming_arm(arm, settings["seed"]):
                record = run(arm, settings)
            append_line(path, record)


@contextlib.contextmanager
def naming_arm(arm: str, seed: int) -> Iterator[None]:
    """Adds arm and seed to the message of a search that fails.

    Raises:
      TooManyFailures: As the search; the message begins with arm and seed.
    """
    try:
        yield
    except TooManyFailures as error:
        raise TooManyFailures(f"{arm}, seed {seed}: {error}") from error


def summarize(history: History, plan: Search) -> dict[str, Any]:
    """Returns the part of a record known when a search has ended.

    Returns:
      `evaluations` (distinct ones) and `trials` (including repeats); `course`, the trials that no
      earlier trial dominates: evaluation number, trial number, metrics; `front`, the non-dominated
      trials at the end, with architectures. If networks were trained, `steps` of the search and up
      to each entry of `course`. `maximised` names the metrics to be maximised, if any.
    """
    asked = [trial for trial in history if trial.metrics is not None and trial.repeats is None]
    shown = (*plan.objectives, *plan.reports)
    course = [
        {"evaluation": count, "number": trial.number, "metrics": _chosen(asked[count - 1], shown)}
        | _steps(asked[:count])
        for count, trial in improvements(minimised(asked, plan.maximised), plan.objectives)
    ]
    front = [
        {"number": t.number, "architecture": t.architecture, "metrics": _chosen(t, shown)}
        for t in best_trials(history, plan)
    ]
    counts = {"evaluations": len(asked), "trials": len(history)} | _steps(asked)
    directions = {"maximised": list(plan.maximised)} if plan.maximised else {}
    return counts | directions | {"course": course, "front": front}


def best_trials(history: History, plan: Search) -> list[Trial]:
    """Returns the non-dominated evaluated trials, sorted by the first objective."""
    trials = {trial.number: trial for trial in history}
    front = pareto.archive(minimised(history, plan.maximised), plan.objectives)
    return [trials[trial.number] for trial in front]


def _steps(trials: Sequence[Trial]) -> dict[str, float]:
    """Returns the total training steps of trials with metrics; empty if none was trained."""
    trained = all("steps" in (trial.metrics or {}) for trial in trials)
    return {"steps": total_steps(trials)} if trained and trials else {}


def _chosen(trial: Trial, names: tuple[str, ...]) -> dict[str, float]:
    assert trial.metrics is not None
    return {name: trial.metrics[name] for name in names}


def improvements(trials: Sequence[Trial], objectives: Sequence[str]) -> Iterator[tuple[int, Trial]]:
    """Yields the trials that no earlier trial equals or dominates, with their positions from 1."""
    where = pareto.points(trials, objectives)
    front = np.empty((0, len(objectives)))
    for count, (trial, here) in enumerate(zip(trials, where, strict=True), start=1):
        if not (front <= here).all(1).any():
            front = np.vstack([front[~(here <= front).all(1)], here])
            yield count, trial
