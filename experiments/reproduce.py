"""Reruns the rows of docs/reproducing.md: the sparse learners beside their papers' numbers.

    python experiments/reproduce.py                      # everything: days on 2 CPU cores
    python experiments/reproduce.py "sparse VD" L0       # some rows, by name
    python experiments/reproduce.py --fast               # all rows, tiny budget, one seed
    python experiments/reproduce.py --page               # only writes the page from the records

Records are appended to results/STUDY/records.jsonl; runs that are there are skipped. The tables
between the markers of docs/reproducing.md are then written anew, and figures beside their records.
With --fast the records go to the work directory, the tables are printed, and nothing else is
touched.
"""

import importlib
import os
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

from absl import flags
from ml_collections import ConfigDict

from gpnas import train
from gpnas._files import read_lines, write_bytes
from gpnas._stop import stop_signal
from gpnas.commandline import EXIT_DIVERGED, start, stop
from gpnas.errors import UserError
from gpnas.report import markers
from gpnas.report.figures import FigureSpec
from gpnas.train.study import run_study

_ROOT = pathlib.Path(__file__).parents[1]
_STUDIES = ("lenet300", "lenet5", "tickets", "curves", "learners", "elastic")
_PAGE = _ROOT / "docs" / "reproducing.md"
_FAST = flags.DEFINE_bool("fast", False, "A budget of about 15 minutes for all rows.")
_ONLY_PAGE = flags.DEFINE_bool("page", False, "Train nothing; write the page from the records.")
_RAW = flags.DEFINE_string("raw_dir", "", "Folder with MNIST's official files, if at hand.")
_WORKDIR = flags.DEFINE_string("workdir", "runs", "Folder for the runs' own folders.")
_RESULTS = flags.DEFINE_string("results", "results", "Folder of the studies' records.")


def main(argv: Sequence[str]) -> None:
    """Runs what is missing of the rows that were asked for, and writes the tables."""
    sys.path.append(str(_ROOT))
    studies = {name: importlib.import_module(f"configs.studies.{name}") for name in _STUDIES}
    asked = argv[1:]
    known = [name for module in studies.values() for name in module.NAMES]
    for name in asked:
        if name not in known:
            raise UserError("row", name, "; ".join(known))
    results = pathlib.Path(_WORKDIR.value) / "fast" if _FAST.value else pathlib.Path(_RESULTS.value)
    with stop_signal() as stopped:
        for module in studies.values():
            own = [name for name in module.NAMES if not asked or name in asked]
            if own and not _ONLY_PAGE.value:
                try:
                    run_study(_study(module, own), _WORKDIR.value, str(results), stopped)
                except train.Diverged as error:
                    stop(error, EXIT_DIVERGED)
    _write(studies, results)


def _study(module: Any, names: Sequence[str]) -> ConfigDict:
    config = module.get_config()
    arms = [arm for arm in config.arms if arm in names] or list(config.arms)
    for arm in config.arms.values():
        if arm.data.name == "mnist":
            arm.data.raw_dir = _RAW.value
    if _FAST.value:
        config.study, config.seeds = f"{config.study}_fast", (0,)
        config.densities = tuple(config.densities)[:2]
        arms = _two_of_each(arms)
        for arm in arms:
            module.shorten(config.arms[arm])
    config.only = ",".join(arms)
    return config


def _two_of_each(arms: Sequence[str]) -> list[str]:
    """Of settings of one arm, which an @ tells apart, the first two."""
    groups: dict[str, list[str]] = {}
    for arm in arms:
        groups.setdefault(arm.partition("@")[0], []).append(arm)
    return [arm for group in groups.values() for arm in group[:2]]


def _write(studies: dict[str, Any], results: pathlib.Path) -> None:
    """Prints all tables; writes them into the page, unless they are of a quick look."""
    text = _PAGE.read_text()
    for name, module in studies.items():
        folder = f"{name}_fast" if _FAST.value else name
        records = read_lines(results / folder / "records.jsonl")
        tables, picture = module.tables(records), ""
        if records and hasattr(module, "figure") and not _FAST.value:
            picture = _draw(module.figure(records), results / folder)
        markers.show(tables)
        text = markers.fill(text, name, tables, picture)
    if not _FAST.value:
        write_bytes(_PAGE, text.encode())
        print(_PAGE)


def _draw(figure: FigureSpec, folder: pathlib.Path) -> str:
    """Writes a figure beside the records; returns how the page shows it."""
    path = folder / f"{figure.name}.svg"
    write_bytes(path, figure.file("svg"))
    link = os.path.relpath(path.resolve(), _PAGE.parent)
    return f"![{figure.heading}]({link})\n\n{figure.caption}\n"


if __name__ == "__main__":
    start(main)
