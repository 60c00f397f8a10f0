"""Development and GMP of the README's table on twenty seeds that no other study has."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from experiments.studies.coupling.tables import training_flops
from experiments.studies.densities import by_seed, error
from experiments.studies.fashion_fresh.config import ARMS, get_config
from experiments.studies.study import Section, Study, epochs, records, sweep
from gpnas.report import Cell, Column, Table, stats


def _sections(results: pathlib.Path, config: ConfigDict) -> Mapping[str, Section]:
    found = records(results, config)
    return {config.study: Section([fresh_table(found)] if found else [])}


def fresh_table(records: Sequence[Mapping[str, Any]]) -> Table:
    """Tabulates test errors of both arms, and their difference paired by seed.

    Args:
      records: Records of `fashion_fresh`.
    """
    columns = [
        Column("arm", numeric=False),
        Column("seeds"),
        Column("error %"),
        Column("minus gmp"),
        Column("training FLOPs ÷ dense"),
    ]
    own = {arm: [record for record in records if record["arm"] == arm] for arm in ARMS}
    of_gmp = by_seed(own["gmp"], error)
    rows = []
    for arm, found in own.items():
        gap = stats.paired_difference(by_seed(found, error), of_gmp)
        cells = [
            arm,
            str(len(found)),
            stats.estimate_text(stats.estimate(map(error, found))),
            "–" if arm == "gmp" else stats.interval_text(gap, sign="+"),
            f"{training_flops(found):.3f}" if found else "–",
        ]
        rows.append([*map(Cell, cells)])
    note = (
        "Test error at the last step, mean ± half the 95 % interval over seeds; the difference is"
        " paired by seed."
    )
    return Table("Development and GMP with new seeds", columns, rows, [note])


STUDY = Study(get_config, sweep, _sections, shorten=epochs(1), readme=("fashion_fresh",))
