"""Runs architecture searches on one or many machines, and comparisons of strategies.

    gpnas search --config=searches/nas_bench_201 --workdir=runs/search
    gpnas worker --storage=sqlite:///runs/search/search.db
    gpnas search --config=experiments/studies/searches_201/config.py --results=runs

The first command is a search. Trials are stored in a database (SQLite in the work directory, or
that of `--storage`), which `optuna-dashboard` shows. A stopped search resumes when it is started
again. The work directory then contains history.json (all trials) and record.json (the progress of
the search and the non-dominated architectures), which `gpnas report` shows, and drawings of these
architectures, which `optuna-dashboard --artifact-dir=WORKDIR/artifacts` shows.

The second command is a worker for an existing search (`search` without a config is, too). If the
search trains networks, their weights are in the work directory, to which the worker needs access
(`--workdir`).

The third command is a comparison: a config with arms and seeds, one search for each. Records are
appended to RESULTS/STUDY/records.jsonl; searches with a record are skipped.

Exit codes: 2, an invalid argument or config; 3, `config.failures` candidates failed in a row; 74,
the disk is full; 75, interrupted by SIGTERM or Ctrl-C.
"""

import pathlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import optuna
from absl import flags
from ml_collections import config_flags

from gpnas.commandline import check_kind, check_unused, no_arguments, start
from gpnas.errors import UserError
from gpnas.records import make_folder, read_json, write_bytes, write_json
from gpnas.report import architecture_figure
from gpnas.search import History, Trial, exhausted, storage, value
from gpnas.search.build import Search, build_search
from gpnas.search.comparison import compare
from gpnas.search.record import best_trials, describe_search, summarize
from gpnas.train import progress

_EVERY = 5.0  # least seconds between two lines of progress
_CONFIG = config_flags.DEFINE_config_file("config", None, "The search.", lock_config=True)
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder for the database and record.json.")
_STORAGE = flags.DEFINE_string("storage", None, "URL of a database; SQLite in workdir by default.")
_NAME = flags.DEFINE_string(
    "name", "search", "Name of the study in the database, and in reports; there, by default, the"
    " strategy's.",
)  # fmt: skip
_RESULTS = flags.DEFINE_string("results", None, "Folder of a comparison's records; results/.")


def main(argv: Sequence[str]) -> None:
    """Runs or resumes a search, or runs the searches of a comparison."""
    no_arguments(argv)
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # failures are recorded in the trial
    several = _CONFIG.value is not None and "arms" in _CONFIG.value
    if _CONFIG.value is not None:
        check_kind(_CONFIG.value, "search")
    if several:
        check_unused([_WORKDIR, _STORAGE, _NAME], "--results, of a comparison")
        print(compare(_CONFIG.value, _RESULTS.value or "results"))
    else:
        check_unused([_RESULTS], "--workdir, of a search")
        _search()


def _search() -> None:
    kept, settings, plan = _join() if _CONFIG.value is None else _begin()
    storage.check_digests(kept, plan.digests)
    with progress(plan.evaluations, kept.study_name) as show:
        history = storage.work_together(
            kept,
            plan.propose,
            plan.evaluate,
            plan.evaluations,
            _enough(plan, show),
            plan.together,
            plan.seed,
            plan.failures,
        )
    front = best_trials(history, plan)
    _print(history, front, plan)
    if _WORKDIR.value:
        folder = pathlib.Path(_WORKDIR.value)
        arm = _NAME.value if _NAME.present else str(settings["strategy"]["name"])
        record = describe_search(settings, arm) | {"name": _NAME.value} | summarize(history, plan)
        write_json(folder / "record.json", record)  # first: it names the search
        write_json(folder / "history.json", [trial._asdict() for trial in history])
        _draw(kept, front, settings["space"], folder)
        print(folder / "record.json")


def _enough(plan: Search, show: Callable[[int, str], None]) -> Callable[[History], bool]:
    """Returns `plan.enough`, which also shows the progress of the search."""
    shown = time.monotonic()

    def enough(history: History) -> bool:
        nonlocal shown
        text, now = "", time.monotonic()
        if now - shown >= _EVERY and (front := best_trials(history, plan)):
            several = len(plan.objectives) > 1
            best = f"best {plan.objectives[0]} {value(front[0], plan.objectives[0]):g}"
            text, shown = f"{len(front)} non-dominated" if several else best, now
        show(storage.different(history), text)
        return plan.enough(history)

    return enough


def _print(history: History, front: Sequence[Trial], plan: Search) -> None:
    if storage.different(history) < plan.evaluations and exhausted(history):
        print("1,000 trials in a row gave no new architecture: the space is exhausted")
    print(f"{storage.different(history)} evaluations; the non-dominated architectures:")
    for trial in front:
        shown = ", ".join(f"{name} {value(trial, name):g}" for name in plan.objectives)
        print(f"  trial {trial.number}: {shown}: {' '.join(map(str, trial.architecture))}")


def _draw(kept: optuna.Study, front: Sequence[Trial], space: str, folder: pathlib.Path) -> None:
    """Draws the best architectures for `optuna-dashboard`."""
    drawings = folder / "drawings"
    drawings.mkdir(exist_ok=True)
    for trial in front:
        figure = architecture_figure(space, trial.architecture, f"trial {trial.number}")
        if figure is not None:
            path = drawings / f"trial_{trial.number}.png"
            write_bytes(path, figure.file("png"))
            storage.attach(kept, path, folder / "artifacts")


def _weights() -> pathlib.Path | None:
    return pathlib.Path(_WORKDIR.value) / "weights" if _WORKDIR.value else None


def _join() -> tuple[optuna.Study, dict[str, Any], Search]:
    if not _STORAGE.value:
        raise UserError("config", None, "a search; or --storage, the database of an existing one")
    kept, settings = storage.join_study(_STORAGE.value, _NAME.value)
    if "space" not in settings:
        raise UserError("name", _NAME.value, "a search; sweep --storage takes this")
    plan = build_search(settings, _weights())
    if _WORKDIR.value:
        _check_folder(pathlib.Path(_WORKDIR.value), settings)
        make_folder(_WORKDIR.value, "workdir")
    return kept, settings, plan


def _begin() -> tuple[optuna.Study, dict[str, Any], Search]:
    if _WORKDIR.value is None:
        raise UserError("workdir", None, "a folder")
    settings = _CONFIG.value.to_dict()
    plan = build_search(settings, _weights())  # checked before writing
    folder = pathlib.Path(str(_WORKDIR.value))
    _check_folder(folder, settings)
    url = _STORAGE.value or storage.sqlite_url(folder / "search.db")
    make_folder(folder, "workdir")
    kept = storage.open_study(url, _NAME.value, plan.objectives, settings, maximised=plan.maximised)
    if dead := storage.wait_for_stale_trials(kept):
        print(f"{dead} trials of a process that ended are retried", flush=True)
    return kept, settings, plan


def _check_folder(folder: pathlib.Path, settings: Mapping[str, Any]) -> None:
    """Checks that results in the folder, if there are any, are those of this search."""
    run = [name for name in ("metrics.jsonl", "config.json") if (folder / name).exists()]
    others = [
        name for name in ("history.json", "drawings", "artifacts") if (folder / name).exists()
    ]
    record: dict[str, Any] = {}
    if (folder / "record.json").exists():
        record = read_json(folder / "record.json", "workdir", "an undamaged record.json")
        run += ["record.json"] if "space" not in record.get("config", {}) else []
    if run:
        raise UserError("workdir", str(folder), f"a folder without a training run ({run[0]})")
    if record:
        name = record.get("name", record["arm"])  # records before November 30 had only the arm
        if name != _NAME.value:
            raise UserError("name", _NAME.value, f"{name!r}, of the search in {folder}")
        storage.check_settings_unchanged(record["config"], settings)
    elif others and not (folder / "search.db").exists():
        raise UserError("workdir", str(folder), f"a new folder, or that of a search ({others[0]})")


if __name__ == "__main__":
    start(main, after_stop="the same command resumes")
