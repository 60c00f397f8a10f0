"""Gradients of newly grown units, for docs/front.md."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from experiments.studies.front_newborns.config import get_config
from experiments.studies.front_newborns.run import SIDES, measure_missing
from experiments.studies.study import Section, Study, records
from gpnas.report import Cell, Column, Table, stats


def norm_table(found: Sequence[Mapping[str, Any]], ages: Sequence[int]) -> Table:
    """Tabulates the relative norms of gradients by arm, side and age.

    Args:
      found: Records of the study.
      ages: Steps since the mask update.
    """
    columns = [
        Column("arm", numeric=False), Column("weights", numeric=False),
        *(Column(f"{age} steps") for age in ages), Column("seeds"),
    ]  # fmt: skip
    rows = []
    for arm in dict.fromkeys(record["arm"] for record in found):
        own = [record for record in found if record["arm"] == arm]
        for side in SIDES:
            norms = [stats.estimate(record[side][str(age)] for record in own) for age in ages]
            texts = [arm, side, *map(stats.estimate_text, norms), str(len(own))]
            rows.append([*map(Cell, texts)])
    note = (
        "Mean norm of the gradient of a grown unit's weights ÷ that of units of the same layer that"
        " were active before, by steps since the mask update; averaged over mask updates, layers"
        " and grown units. Mean ± half the 95 % interval over seeds."
    )
    return Table("Gradients of grown units", columns, rows, [note])


def error_table(found: Sequence[Mapping[str, Any]], against: str) -> Table:
    """Tabulates validation errors, and their differences from those of one arm.

    Args:
      found: Records of the study.
      against: The arm.
    """
    columns = [
        Column("arm", numeric=False), Column("validation error %"),
        Column(f"minus {against}"), Column("seeds"),
    ]  # fmt: skip
    errors: dict[str, dict[int, float]] = {}
    for record in found:
        errors.setdefault(record["arm"], {})[record["seed"]] = record["val_error"]
    rows = []
    for arm, own in errors.items():
        gap = stats.paired_difference(own, errors.get(against, {}))
        texts = [
            arm,
            stats.estimate_text(stats.estimate(own.values())),
            "–" if arm == against else stats.interval_text(gap, sign="+"),
            str(len(own)),
        ]
        rows.append([*map(Cell, texts)])
    note = (
        "At the last step, mean ± half the 95 % interval over seeds; differences are paired by"
        " seed, not corrected."
    )
    return Table("Errors with other initial values of grown units", columns, rows, [note])


def _sections(results: pathlib.Path, config: ConfigDict) -> Mapping[str, Section]:
    found = records(results, config)
    if not found:
        return {config.study: Section()}
    tables = [norm_table(found, config.ages), error_table(found, config.arms[0])]
    return {config.study: Section(tables)}


STUDY = Study(get_config, measure_missing, _sections, "front.md")
