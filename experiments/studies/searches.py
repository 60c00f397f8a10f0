"""Common parts of studies of searches: tables and figures that compare strategies."""

import pathlib
from collections.abc import Callable, Mapping
from typing import Any

from ml_collections import ConfigDict

from experiments.studies.study import Options, Section, Study
from gpnas.errors import UserError
from gpnas.report import (
    course_figures,
    front_figures,
    read_runs,
    search_difference_table,
    search_tables,
    summarise,
)
from gpnas.search import BenchmarkTable
from gpnas.search.comparison import compare


def check_metric(table: BenchmarkTable, field: str, name: Any) -> None:
    """Checks that a table has a metric.

    Raises:
      UserError: If it does not.
    """
    if not isinstance(name, str) or name not in table.metrics:
        raise UserError(field, name, ", ".join(table.metrics))


def search_sections(*against: str) -> Callable[[pathlib.Path, ConfigDict], Mapping[str, Section]]:
    """Returns the `sections` of a study of searches: what each strategy found, and its trajectory.

    Args:
      *against: Reference arms of paired comparisons, one table each.
    """

    def sections(results: pathlib.Path, config: ConfigDict) -> Mapping[str, Section]:
        summary = summarise(read_runs([results / config.study / "records.jsonl"]))
        differences = [search_difference_table(summary.searches, arm) for arm in against]
        tables = [*search_tables(summary), *differences]
        figures = [*course_figures(summary), *front_figures(summary)]
        return {config.study: Section(tables, figures)}

    return sections


def compare_study(get_config: Callable[[], ConfigDict], *against: str) -> Study:
    """Returns the study of a comparison of strategies, for docs/nas.md.

    Args:
      get_config: Returns its config.
      *against: As for `search_sections`.
    """

    def run(config: ConfigDict, options: Options) -> None:
        compare(config, str(options.results))

    return Study(get_config, run, search_sections(*against), "nas.md")
