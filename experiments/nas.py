"""Writes the tables and figures of docs/nas.md from the committed records.

    python experiments/nas.py           # makes early stopping's records, then writes
    python experiments/nas.py --page    # only writes

The other records come from experiments/compare.py (strategies beside each other), proxies.py,
sharing.py and benchmark.py; docs/nas.md has the commands. Early stopping takes two minutes.
"""

import importlib
import pathlib
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from absl import flags

from gpnas._files import read_lines, write_bytes
from gpnas.commandline import no_arguments, start
from gpnas.errors import UserError
from gpnas.report import fronts, markers, optima, rankings, read_runs, searches, sharing
from gpnas.report.figures import FigureSpec
from gpnas.report.groups import summarise
from gpnas.report.table import Table
from gpnas.search.early_stopping import early_stopping
from gpnas.search.proxy_study import advantages, correlations, matching

_ROOT = pathlib.Path(__file__).parents[1]
_SIZE = "params (table)"  # what scores are compared with
_ONLY_PAGE = flags.DEFINE_bool("page", False, "Search nothing; write from the records.")
_FOLDER = flags.DEFINE_string("folder", str(_ROOT), "Folder of docs/nas.md and of results/.")


class Section(NamedTuple):
    """What stands between two markers of the page, and the figures beside it.

    Attributes:
      tables: In their order.
      figures: Files of results/STUDY, STUDY being the markers' name.
    """

    tables: Sequence[Table] = ()
    figures: Sequence[FigureSpec] = ()


def main(argv: Sequence[str]) -> None:
    """Writes the page, and what of the records is quickly made."""
    no_arguments(argv)
    sys.path.append(str(_ROOT))
    configs = {
        name: importlib.import_module(f"configs.searches.{name}").get_config()
        for name in ("early_stopping", "proxies")
    }
    page = pathlib.Path(_FOLDER.value) / "docs" / "nas.md"
    results = pathlib.Path(_FOLDER.value) / "results"
    try:
        text = page.read_text()
    except OSError as error:
        allowed = f"a folder with docs/nas.md ({error.strerror})"
        raise UserError("folder", _FOLDER.value, allowed) from error
    if not _ONLY_PAGE.value:
        early_stopping(configs["early_stopping"], str(results))
    for name, make in _SECTIONS.items():
        section = make(results, configs)
        markers.show(section.tables)
        text = markers.fill(text, name, section.tables)
        for spec in section.figures:
            (results / name / f"{spec.name}.svg").write_bytes(spec.file("svg"))
    write_bytes(page, text.encode())
    print(page)


def _optima(results: pathlib.Path, configs: Mapping[str, Any]) -> Section:
    del configs
    return Section([optima.optimum_table(read_lines(results / "benchmark.jsonl"))])


def _strategies(study: str, against: str) -> Callable[[pathlib.Path, Mapping[str, Any]], Section]:
    """A study of searches: what they found, also against one of them, and the courses."""

    def section(results: pathlib.Path, configs: Mapping[str, Any]) -> Section:
        del configs
        summary = summarise(read_runs([results / study / "records.jsonl"]))
        difference = searches.difference_table(summary.searches, against)
        tables = [*searches.search_tables(summary), difference]
        figures = [*searches.course_figures(summary), *fronts.front_figures(summary)]
        return Section(tables, figures)

    return section


def _proxies(results: pathlib.Path, configs: Mapping[str, Any]) -> Section:
    config = configs["proxies"]
    config.data.name = "folder:cifar10_jpeg"  # the committed records' pictures
    records = matching(read_lines(results / "proxies" / "records.jsonl"), config)
    found = correlations(records, config.against)
    ranked = [rankings.Ranking(name, *one) for name, one in found.items()]
    more = advantages(records, config.against, _SIZE)
    ahead = [rankings.Ranking(name, *one) for name, one in more.items()]
    seconds = sum(record["wall_s"] for record in records) / len(records)
    note = (
        f"{len(records)} random networks of the table, {config.channels} channels,"
        f" {config.cells} cell a stage, at initialisation, one batch of {config.batch} pictures of"
        f" cifar10_jpeg, one draw of weights for all; all scores of a network took {seconds:.1f} s"
        f" beside other work. Accuracy: 100 % − {config.against} of the table, networks of 5 cells."
        " Intervals: percentile bootstrap over networks."
    )
    caption = "How well scores of untrained networks rank trained ones"
    figure = rankings.ranking_figure("proxies", ranked, caption)
    table = rankings.ranking_table(caption, ranked, ahead, _SIZE, [note])
    return Section([table], [figure])


def _sharing(results: pathlib.Path, configs: Mapping[str, Any]) -> Section:
    del configs
    summary = summarise(read_runs([results / "sharing" / "records.jsonl"]))
    return Section(sharing.method_tables(summary), sharing.rank_figures(summary))


_SECTIONS: Mapping[str, Callable[[pathlib.Path, Mapping[str, Any]], Section]] = {
    "optima": _optima,
    "searches_201": _strategies("searches_201", "random"),
    "early_stopping": _strategies("early_stopping", "random"),
    "proxies": _proxies,
    "lemonade": _strategies("lemonade", "LEMONADE"),
    "sharing": _sharing,
}


if __name__ == "__main__":
    start(main)
