"""Which weights are grown: by V, by |g|, between them, by V's layers only, or at random."""

import itertools
import pathlib
from collections.abc import Mapping, Sequence

from ml_collections import ConfigDict

from experiments.studies.coupling.arms import WINDOW_1_HIGHER
from experiments.studies.coupling.tables import of_arm, validation_error
from experiments.studies.coupling_growth.config import DATA, DENSITIES, GROWTH, get_config
from experiments.studies.densities import Record, by_seed
from experiments.studies.study import Section, Study, epochs, records, sweep
from gpnas.report import Cell, Column, Table, stats


def _sections(results: pathlib.Path, config: ConfigDict) -> Mapping[str, Section]:
    found = records(results, config)
    return {config.study: Section([growth_table(found)] if found else [])}


def growth_table(records: Sequence[Record]) -> Table:
    """Tabulates validation errors, and their differences from V, by data set and density.

    Args:
      records: Records of the study.
    """
    settings = tuple(itertools.product(DATA, DENSITIES))
    columns = [
        Column("growth by", numeric=False),
        *(Column(f"{DATA[data][0]}, {100 * density:g} %") for data, density in settings),
    ]
    rows = [
        [Cell(label), *(_cell(records, arm, data, density) for data, density in settings)]
        for arm, label in GROWTH.items()
    ]
    seeds = len({record["seed"] for record in records})
    note = (
        f"Validation error in % at the last step, mean over {seeds} seeds ± half the 95 %"
        " interval; in parentheses the difference from V, paired by seed, not corrected."
    )
    return Table("Other ways to grow weights", columns, rows, [note])


def _cell(records: Sequence[Record], arm: str, data: str, density: float) -> Cell:
    own, of_v = (
        by_seed(_of(records, name, data, density), validation_error)
        for name in (arm, WINDOW_1_HIGHER)
    )
    if not own:
        return Cell("–")
    text = stats.estimate_text(stats.estimate(own.values()))
    gap = stats.paired_difference(own, of_v)
    return (
        Cell(text)
        if arm == WINDOW_1_HIGHER
        else Cell(text, detail=stats.interval_text(gap, sign="+"))
    )


def _of(records: Sequence[Record], arm: str, data: str, density: float) -> list[Record]:
    on = [record for record in records if record["config"]["data"]["name"] == data]
    return of_arm(on, arm, density)


STUDY = Study(get_config, sweep, _sections, "coupling.md", shorten=epochs(1))
