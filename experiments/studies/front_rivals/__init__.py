"""The front of one run against searches, pruning or growing only, and other baselines."""

import pathlib
from collections.abc import Mapping

from ml_collections import ConfigDict

from experiments.studies.front.run import LONG
from experiments.studies.front_rivals.config import get_config
from experiments.studies.front_rivals.run import chosen_records, fronts_of, reference_error, run
from experiments.studies.front_rivals.tables import (
    COMPARED,
    FRONT,
    PRUNING,
    WIDTHS,
    baselines_figure,
    difference_table,
    error_table,
    found_by_arm,
    steps_table,
    widths_table,
)
from experiments.studies.study import Section, Study, records
from gpnas.records import read_lines


def _sections(results: pathlib.Path, config: ConfigDict) -> Mapping[str, Section]:
    found = chosen_records(records(results, config), config)
    if not found:
        return {"front_rivals": Section()}
    known = read_lines(results / FRONT / "records.jsonl")
    seeds = {record["seed"] for record in found}
    arms = {FRONT: fronts_of(known, config)} | {
        f"front, {arm}": fronts_of(known, config, arm)
        for arm in ("14 epochs", "twice as long", LONG, "six networks")
    }
    fronts = {
        name: {seed: one for seed, one in own.items() if seed in seeds}
        for name, own in arms.items()
        if seeds & own.keys()
    }
    rows, levels = found_by_arm(fronts, found), config.front.front
    reference = reference_error(known, config)
    tables = [
        error_table(rows, levels, reference),
        widths_table(fronts[FRONT], found, levels),
        *filter(None, [steps_table(found, config)]),
        *(
            difference_table(rows, against, levels, reference)
            for against in (FRONT, PRUNING, WIDTHS)
        ),
    ]
    for against, others in COMPARED.items():
        if against in rows and any(name in rows for name in others):
            both = {name: rows[name] for name in (against, *others) if name in rows}
            own = sorted(next(iter(rows[against].values())).errors, reverse=True)
            tables.append(difference_table(both, against, own, reference))
    figure = baselines_figure(rows, levels)
    return {"front_rivals": Section(tables, [figure])}


STUDY = Study(get_config, run, _sections, "front.md", rows=get_config().arms)
