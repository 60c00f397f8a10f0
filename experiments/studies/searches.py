"""Common parts of studies of searches: tables and figures that compare strategies."""

import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from experiments.studies.study import Section, Study, records, to_results
from gpnas.errors import UserError
from gpnas.report import (
    Cell,
    Column,
    Group,
    Table,
    front_figures,
    read_runs,
    search_curves,
    search_marks,
    search_measures,
    search_tables,
    search_unit,
    stats,
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
        if not records(results, config):
            return {config.study: Section()}
        summary = summarise(read_runs([results / config.study / "records.jsonl"]))
        known = {group.label for group in summary.searches}
        differences = [
            search_difference_table(summary.searches, arm) for arm in against if arm in known
        ]
        tables = [*search_tables(summary), *differences]
        figures = [*search_curves(summary), *front_figures(summary)]
        return {config.study: Section(tables, figures)}

    return sections


def search_difference_table(groups: Sequence[Group], against: str) -> Table:
    """Returns paired differences between strategies over seeds, by number of evaluations.

    Args:
      groups: Groups of one study.
      against: Arm of the reference strategy.
    """
    runs = [run for group in groups for run in group.runs]
    name, measure = list(search_measures(runs).items())[-1]
    marks, places = search_marks(runs), 3 if name == "hypervolume" else 2
    values = {
        group.label: {run.seed or 0: measure(run, marks) for run in group.runs} for group in groups
    }
    at = {
        label: [{seed: own[n] for seed, own in seeds.items()} for n in range(len(marks))]
        for label, seeds in values.items()
    }
    rows = []
    for label in (label for label in at if label != against):
        pairs = zip(at[label], at[against], strict=True)
        found = [stats.paired_difference(ours, theirs) for ours, theirs in pairs]
        rows.append([Cell(label), *(Cell(stats.interval_text(one, places, "+")) for one in found)])
    caption = f"{name} minus that of {against}, by number of {search_unit(runs[0])}"
    rising = ["hypervolume", *(runs[0].record or {}).get("maximised", ())]
    better = "above" if name in rising else "below"
    note = f"Mean ± half the 95 % interval of the differences by seed; {better} zero is better."
    columns = [Column("strategy", numeric=False), *(Column(f"{m:,}") for m in marks)]
    return Table(caption, columns, rows, [note])


def compare_study(get_config: Callable[[], ConfigDict], *against: str) -> Study:
    """Returns the study of a comparison of strategies, for docs/nas.md.

    Args:
      get_config: Returns its config.
      *against: As for `search_sections`.
    """

    return Study(get_config, to_results(compare), search_sections(*against), "nas.md")
