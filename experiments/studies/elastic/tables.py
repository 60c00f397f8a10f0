"""Development of units: time saved by elastic training, and its cost in error."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from gpnas.report import Cell, Column, Table, stats

Record = Mapping[str, Any]


def elastic_table(caption: str, records: Sequence[Record], arms: Sequence[str]) -> Table:
    """Compares arms: active units, MACs, error, time relative to the first arm, programs.

    Args:
      caption: Caption of the table.
      records: Records of runs on one machine.
      arms: Rows in order; the first is the dense network, the reference of times.
    """
    rows = [_row(arm, records, arms[0]) for arm in arms]
    columns = [
        Column("arm", numeric=False),
        Column("seeds"),
        Column("units", numeric=False),
        Column("MACs ÷ dense"),
        Column("training FLOPs ÷ dense"),
        Column("test error %"),
        Column("time ÷ dense"),
        Column("programs"),
    ]
    notes = (
        "Units: of the layers that have any, in the first seed. MACs and FLOPs: means. Time: of the"
        " whole loop with its compilations and evaluations, each seed's over the same seed's dense"
        " run; the mean and half its 95 % interval. Programs: compiled for training, the maximum"
        " over runs.",
    )
    return Table(caption, columns, [row for row in rows if row], notes)


def _row(arm: str, records: Sequence[Record], dense: str) -> list[Cell]:
    own = [record for record in records if record["arm"] == arm]
    if not own:
        return []
    times = {record["seed"]: record["wall_s"] for record in records if record["arm"] == dense}
    ratios = [record["wall_s"] / times[record["seed"]] for record in own if record["seed"] in times]
    texts = [
        arm,
        str(len(own)),
        "-".join(map(str, _units(own[0]))),
        *(f"{_mean_ratio(own, name):.3f}" for name in ("inference_macs", "train_flops")),
        stats.estimate_text(stats.estimate(record["metrics"]["test_error_last"] for record in own)),
        stats.estimate_text(stats.estimate(ratios)),
        str(max(record["compilations"] for record in own)),
    ]
    return [Cell(text) for text in texts]


def _mean_ratio(records: Sequence[Record], name: str) -> float:
    """Returns the mean of a cost relative to that of the dense network."""
    costs = [record["cost"] for record in records]
    return statistics.fmean(cost[name] / cost[f"{name}_dense"] for cost in costs)


def _units(record: Record) -> list[int]:
    """Returns the active units of each layer but the last."""
    return [layer["shape"][-1] - layer["dead_out"] for layer in record["layers"][:-1]]
