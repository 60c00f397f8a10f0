"""The front of one run against searches, pruning or growing only, and other baselines."""

import pathlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from experiments.studies.front.run import LONG, chosen_rates
from experiments.studies.front.tables import errors_by_arm
from experiments.studies.front_rivals.config import get_config
from experiments.studies.front_rivals.growing import PRUNING
from experiments.studies.front_rivals.run import (
    chosen_records,
    fronts_of,
    reference_error,
    run,
    uniform_of,
)
from experiments.studies.front_rivals.tables import (
    COMPARED,
    FRONT,
    UNIFORM,
    WIDTHS,
    Rows,
    baselines_figure,
    difference_table,
    error_table,
    found_by_arm,
    steps_table,
    widths_table,
)
from experiments.studies.front_rivals.targets import Known, targets_table
from experiments.studies.study import Section, Study, records
from gpnas.records import read_lines
from gpnas.report import Table


def _sections(results: pathlib.Path, config: ConfigDict) -> Mapping[str, Section]:
    found = chosen_records(records(results, config), config)
    if not found:
        return {"front_rivals": Section(), "front targets": Section()}
    known = read_lines(results / FRONT / "records.jsonl")
    seeds = {record["seed"] for record in found}
    arms = {FRONT: fronts_of(known, config)} | {
        f"front, {arm}": fronts_of(known, config, arm)
        for arm in ("14 epochs", "twice as long", LONG, "six networks")
    }
    fronts = {name: _at(seeds, own) for name, own in arms.items() if seeds & own.keys()}
    uniform = {UNIFORM: _at(seeds, uniform_of(known, config))}
    rows, levels = found_by_arm(fronts | uniform, found), config.front.front
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
    return {
        "front_rivals": Section(tables, [figure]),
        "front targets": Section([_targets(results, config, fronts, rows, found)]),
    }


def _at(seeds: Collection[int], own: Mapping[int, Any]) -> dict[int, Any]:
    return {seed: one for seed, one in own.items() if seed in seeds}


def _targets(
    results: pathlib.Path,
    config: ConfigDict,
    fronts: Mapping[str, Mapping[int, Mapping[str, Any]]],
    rows: Rows,
    found: Sequence[Mapping[str, Any]],
) -> Table:
    known = read_lines(results / FRONT / "records.jsonl")
    own = [record for record in known if record["seed"] in config.seeds]
    errors = errors_by_arm(own, chosen_rates(known, config)) | {
        name: {seed: {**one.errors, "flops": one.flops} for seed, one in seeds.items()}
        for name, seeds in rows.items()
    }
    walls = {
        str(line["name"]): float(line["value"])  # the last record of each name
        for line in read_lines(results / "benchmark.jsonl")
        if not line["fast"]
    }
    latency = read_lines(results / FRONT / "latency.jsonl")
    newborns = read_lines(results / "front_newborns" / "records.jsonl")
    rounds = read_lines(results / "front_wall" / "records.jsonl")
    reference = reference_error(known, config)
    return targets_table(
        Known(config, rows, errors, fronts, found, latency, newborns, rounds, walls, reference)
    )


STUDY = Study(get_config, run, _sections, "front.md", rows=get_config().arms, needs=("front",))
