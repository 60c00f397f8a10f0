"""Development with a window of 1 against baselines of equal training FLOPs, on new seeds."""

import pathlib
from collections.abc import Mapping, Sequence

from ml_collections import ConfigDict

from experiments.studies.coupling.arms import WINDOW_1_HIGHER
from experiments.studies.coupling.tables import (
    difference,
    error_cell,
    error_table,
    gap_table,
    of_arm,
    p_value,
)
from experiments.studies.coupling_confirmation.config import (
    DENSITY_WITHOUT_CHURN,
    WITHOUT_CHURN,
    get_config,
)
from experiments.studies.densities import Record
from experiments.studies.study import Section, Study, epochs, records, sweep
from gpnas.report import Cell, Column, Table, stats


def sections(results: pathlib.Path, config: ConfigDict) -> Mapping[str, Section]:
    """Returns the differences of development with a window of 1, and the errors.

    Args:
      results: Folder of all studies' records.
      config: The study's config.
    """
    found = records(results, config)
    if not found:
        return {config.study: Section()}
    tables = [gap_table(found, WINDOW_1_HIGHER), error_table(found)]
    if any(record["arm"] == WITHOUT_CHURN for record in found):
        tables.append(churn_table(found))
    return {config.study: Section(tables)}


def churn_table(records: Sequence[Record]) -> Table:
    """Tabulates the test error of development minus its error without churn.

    Args:
      records: Records of the study.
    """
    arms = (WINDOW_1_HIGHER, WITHOUT_CHURN)
    gap = difference(records, *arms, DENSITY_WITHOUT_CHURN)
    texts = [
        f"{100 * DENSITY_WITHOUT_CHURN:g} %",
        *(error_cell(of_arm(records, arm, DENSITY_WITHOUT_CHURN)).text for arm in arms),
        stats.interval_text(gap, sign="+"),
        f"{p_value(gap):.2g}" if gap else "–",
    ]
    columns = [
        Column("density", numeric=False), Column("development with a window of 1"),
        Column("without churn"), Column("difference"), Column("p"),
    ]  # fmt: skip
    note = (
        "Test error in %, mean ± half the 95 % interval over seeds; the difference, in points, is"
        " paired by seed. Without churn, no mask update both grows and prunes."
    )
    return Table("Development with and without churn", columns, [[*map(Cell, texts)]], [note])


STUDY = Study(get_config, sweep, sections, "coupling.md", shorten=epochs(1))
