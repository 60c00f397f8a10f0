"""Reruns the studies behind the numbers in the documentation; writes their tables and figures.

    python experiments/reproduce.py                      # everything: days on 2 CPU cores
    python experiments/reproduce.py gradmax proxies      # some studies
    python experiments/reproduce.py "sparse VD" L0       # some rows of docs/reproducing.md
    python experiments/reproduce.py coupling/GMP         # an arm of a sweep, with all its settings
    python experiments/reproduce.py coupling/GMP@0.01    # with one of them
    python experiments/reproduce.py --fast               # trained studies, tiny budget, one seed
    python experiments/reproduce.py --budget=paper "LeNet-5 L0"  # as many epochs as the paper
    python experiments/reproduce.py --jobs=4             # four processes side by side
    python experiments/reproduce.py --norun              # only writes the pages from the records

Studies are the folders of experiments/studies. Records are appended to results/STUDY/records.jsonl;
runs with a record are skipped. The tables and figures between the markers of docs/*.md and
README.md are then rewritten. With --budget=paper, rows whose papers have other epochs than the
study are trained with five seeds; records are appended to results/paper/STUDY/records.jsonl and
shown in sections of their own. With --fast, records are written to WORKDIR/fast, and tables are
only printed. Some studies need extras of the package: `deploy` needs `deploy`, `quant` needs
`quant`, `torch_pruning` needs `bench`. Studies that measure time need an otherwise idle machine.

With --jobs, each row is a process; the arms of a sweep without rows are divided among as many
processes; each other study is one. On a shared GPU, set XLA_PYTHON_CLIENT_PREALLOCATE=false.
Studies that need records of others run after them. The exit code is 3 if a process fails.
"""

import pathlib
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from absl import flags, logging
from ml_collections import ConfigDict

from gpnas.commandline import start, stop_signal
from gpnas.errors import GaveUp, UserError, not_installed
from gpnas.train import Stopped, arms_named

_ROOT = pathlib.Path(__file__).parents[1]
_FAST = flags.DEFINE_bool("fast", False, "A budget of about 15 minutes for all trained studies.")
_BUDGET = flags.DEFINE_enum(
    "budget", "own", ["own", "paper"], "Epochs: the study's or the paper's."
)
_JOBS = flags.DEFINE_integer("jobs", 1, "Number of processes side by side.", lower_bound=1)
_RUN = flags.DEFINE_bool("run", True, "Whether runs without a record are made.")
_PAGES = flags.DEFINE_bool("pages", True, "Whether tables and figures are written.")
_RAW = flags.DEFINE_string("raw_dir", None, "Folder with MNIST's official files, if available.")
_WORKDIR = flags.DEFINE_string("workdir", "runs", "Parent of the runs' folders.")
_RESULTS = flags.DEFINE_string("results", str(_ROOT / "results"), "Folder of the records.")
_DOCS = flags.DEFINE_string("docs", str(_ROOT / "docs"), "Folder of the pages.")


def main(argv: Sequence[str]) -> None:
    """Runs what is missing of the requested studies, and writes the tables."""
    sys.path.append(str(_ROOT))
    from experiments.studies import study as library  # the repository was just added to the path

    asked = _asked(library, argv[1:])
    paper, fast = _BUDGET.value == "paper", _FAST.value
    results, workdir = pathlib.Path(_RESULTS.value), pathlib.Path(_WORKDIR.value)
    if fast:
        results = workdir / "fast"
    with stop_signal() as stopped:
        aside = library.PAPER if paper else ""
        options = library.Options(results / aside, workdir / aside, _RAW.value or "", stopped)
        to_run = _runnable(asked, bool(argv[1:])) if _RUN.value else []
        failed: list[str] = []
        if _JOBS.value > 1:
            failed = _run_side_by_side(to_run, stopped)
        else:
            for _, study, config in to_run:
                if not stopped():
                    study.run(config, options)
        if stopped():
            raise Stopped("stopped")
    pages = []
    for _, study, config in asked if _PAGES.value else ():
        docs = pathlib.Path(_DOCS.value)
        shown = study.get_config() if paper else config
        pages += library.write_pages(study, shown, results, docs, not fast)
    if not fast:
        print("\n".join(map(str, dict.fromkeys(pages))))
    if failed:
        raise GaveUp(f"{len(failed)} processes failed: {'; '.join(failed)}")


def _runnable(
    asked: Sequence[tuple[str, Any, ConfigDict]], by_name: bool
) -> list[tuple[str, Any, ConfigDict]]:
    """Returns the studies that make records here; those without their data only if requested."""
    found = []
    for name, study, config in asked:
        missing = study.data and not pathlib.Path(study.data).is_dir()
        if missing and by_name:
            raise UserError(f"data of {name}", f"no {study.data}", "that folder in the current one")
        if missing:
            logging.warning("%s is left out: there is no folder %s", name, study.data)
        elif study.run is not None:
            found.append((name, study, config))
    return found


def _run_side_by_side(
    asked: Sequence[tuple[str, Any, ConfigDict]], stopped: Callable[[], bool]
) -> list[str]:
    """Runs this command for rows, parts of sweeps and other studies at the same time.

    Returns:
      The names of what failed.
    """
    from experiments.studies.jobs import jobs_of, run_jobs

    given = [flag.serialize() for flag in (_FAST, _BUDGET, _RAW, _WORKDIR, _RESULTS, _DOCS)]
    command = [sys.executable, str(pathlib.Path(__file__)), "--nopages", *filter(None, given)]
    rounds: tuple[dict, dict] = {}, {}  # studies that need records of others come second
    for name, study, config in asked:
        for job, own in jobs_of(name, study, config, _JOBS.value).items():
            rounds[bool(study.needs)][job] = [*command, *own]
    return [name for jobs in rounds for name in run_jobs(jobs, _JOBS.value, stopped)]


def _asked(library: Any, names: Sequence[str]) -> list[tuple[str, Any, ConfigDict]]:
    """Returns the requested studies by name, with configs restricted to the requested arms."""
    paper = _BUDGET.value == "paper"
    if _FAST.value and paper:
        raise UserError("budget", "paper", "own, with --fast")
    try:
        studies = library.load()
    except ModuleNotFoundError as error:
        raise not_installed(error) from error
    selected = _selected(studies, names) if names else dict.fromkeys(studies, ())
    found = []
    for name, arms in selected.items():
        study = studies[name]
        longer = library.other_epochs(study) if paper else {}
        if (_FAST.value and study.shorten is None) or (paper and not longer):
            continue
        config = study.get_config()
        if arms:
            config.only = ",".join(_full_names(name, study, config, arms))
        if paper:
            library.lengthen(config, longer)
        if _FAST.value:
            _shorten(config, study.shorten)
        found.append((name, study, config))
    if not found or (names and len(found) < len(selected)):
        allowed = "; ".join(studies)
        if _FAST.value:
            short = (name for name, one in studies.items() if one.shorten is not None)
            allowed = f"with --fast, {'; '.join(short)}"
        if paper:
            all_rows = {row for one in studies.values() for row in one.rows}
            longer = {name: library.other_epochs(one) for name, one in studies.items()}
            rows = {arm for arms in longer.values() for arm in arms} & all_rows
            known = [*(name for name, arms in longer.items() if arms), *sorted(rows)]
            allowed = f"{'; '.join(known)}, where papers have other epochs"
        raise UserError("study or row", ", ".join(names), allowed)
    return found


def _selected(studies: Mapping[str, Any], names: Sequence[str]) -> dict[str, Sequence[str]]:
    """Returns the requested rows and arms by study, in the order of the studies; none: all."""
    found: dict[str, list[str]] = {}
    for name in dict.fromkeys(names):
        folder, _, arm = name.partition("/")
        owners = {s: name for s, study in studies.items() if name in study.rows}
        if not owners and folder in studies and arm:
            owners = {folder: arm}
        if not owners and name not in studies:
            known = [*studies, *(row for study in studies.values() for row in study.rows)]
            raise UserError("study or row", name, "; ".join(known))
        for owner, own in owners.items():
            found.setdefault(owner, []).append(own)
    return {s: () if s in names else found[s] for s in studies if s in names or s in found}


def _full_names(name: str, study: Any, config: ConfigDict, asked: Sequence[str]) -> list[str]:
    """Returns rows unchanged, and requested arms of a sweep with the settings after their @."""
    arms = list(config.arms) if "densities" in config else []
    found: list[str] = []
    for arm in asked:
        own = [arm] if arm in study.rows else arms_named(arm, arms)
        if not own:
            allowed = dict.fromkeys(one.partition("@")[0] for one in arms)
            raise UserError(
                f"arm of {name}", arm, "; ".join(allowed) or f"none: {name} is no sweep"
            )
        found += own
    return list(dict.fromkeys(found))


def _shorten(config: ConfigDict, shorten: Any) -> None:
    config.study, config.seeds = f"{config.study}_fast", (0,)
    if "densities" not in config:  # not a sweep
        shorten(config)
        return
    config.densities = tuple(config.densities)[:2]
    config.only = ",".join(_two_of_each(config.only.split(",") if config.only else config.arms))
    for arm in config.arms.values():
        shorten(arm)


def _two_of_each(arms: Sequence[str]) -> list[str]:
    """Keeps the first two settings of each arm; a setting is the part after @ in a name."""
    groups: dict[str, list[str]] = {}
    for arm in arms:
        groups.setdefault(arm.partition("@")[0], []).append(arm)
    return [arm for group in groups.values() for arm in group[:2]]


if __name__ == "__main__":
    start(main, after_stop="the same command resumes")
