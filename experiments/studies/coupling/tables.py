"""Errors of all arms by density, what was chosen for them, and development against its rivals."""

from collections.abc import Mapping, Sequence
from typing import Any

from gpnas.report import Cell, Column, Table, stats

Record = Mapping[str, Any]


def choice_table(records: Sequence[Record]) -> Table:
    """Mean validation error of each arm at each weight decay, the lowest marked.

    Args:
      records: Of `coupling_tuning`.
    """
    decays = sorted({_decay(record) for record in records})
    columns = [Column("arm", numeric=False), *(Column(f"weight decay {d:g}") for d in decays)]
    rows = []
    for arm in dict.fromkeys(record["arm"] for record in records):
        means = {d: _mean_of(records, arm, d) for d in decays}
        best = min(means, key=lambda d: means[d])
        cells = [Cell(f"{means[d]:.2f}" + (" ←" if d == best else "")) for d in decays]
        rows.append([Cell(arm), *cells])
    note = "Validation error in % at the last step, mean of two densities and three seeds."
    return Table("Choice of the weight decay", columns, rows, [note])


def error_table(records: Sequence[Record]) -> Table:
    """Test error of each arm at each density, and training FLOPs over those of dense training.

    Args:
      records: Of `coupling`.
    """
    densities = sorted({_density(record) for record in records} - {1.0}, reverse=True)
    columns = [Column("arm", numeric=False), *(Column(f"{100 * d:g} %") for d in densities)]
    rows = []
    for arm in dict.fromkeys(record["arm"] for record in records):
        own = [record for record in records if record["arm"] == arm]
        rows.append([Cell(arm), *(_error_cell(own, d) for d in densities)])
    note = (
        "Test error in % at the last step, mean ± half the 95 % interval over seeds; in brackets"
        " training FLOPs over those of dense training."
    )
    return Table("Errors by density", columns, rows, [note])


def _error_cell(own: Sequence[Record], density: float) -> Cell:
    same = [record for record in own if _density(record) in (density, 1.0)]
    if not same:
        return Cell("–")
    flops = sum(record["cost"]["train_flops"] for record in same)
    dense = sum(record["cost"]["train_flops_dense"] for record in same)
    errors = stats.estimate(record["metrics"]["test_error_last"] for record in same)
    return Cell(stats.estimate_text(errors), detail=f"{flops / dense:.3f}")


def _density(record: Record) -> float:
    return record["config"]["method"].get("density", 1.0)


def _decay(record: Record) -> float:
    return record["config"]["optimizer"]["weight_decay"]


def _mean_of(records: Sequence[Record], arm: str, decay: float) -> float:
    own = [r for r in records if r["arm"] == arm and _decay(r) == decay]
    return sum(r["metrics"]["val_error_last"] for r in own) / len(own)
