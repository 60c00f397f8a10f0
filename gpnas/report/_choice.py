"""Which method to take at which cost, by the validation metric."""

from collections.abc import Sequence

from gpnas.report import formatting
from gpnas.report._groups import Group, Summary
from gpnas.report._table import Cell, Column, Table, group_cell, number_cell

_EQUAL = 1.01  # ratio of two costs up to which they count as equal
_COSTS = ("flops", "nonzeros")


def choice_table(summary: Summary) -> Table | None:
    """Returns the groups of runs that no other group of at most their cost surpasses.

    A cost is that of training, in FLOPs, and the number of non-zeros of the network; values within
    1 % count as equal. The test set has no part in the choice.

    Args:
      summary: Runs on one problem.

    Returns:
      The table in ascending order of training FLOPs; None if fewer than three groups, or groups of
      a single arm, have costs and a validation metric.

    Raises:
      ValueError: If the runs have several metrics.
    """
    metric = summary.metric
    known = [g for g in summary.groups if None not in map(g.mean, (*_COSTS, "validation_last"))]
    if len(known) < 3 or len({group.series for group in known}) < 2:
        return None
    chosen = sorted((g for g in known if not _surpassed(g, known)), key=lambda g: _mean(g, "flops"))
    rows = [
        [
            group_cell(group),
            number_cell(group.mean("flops"), formatting.si),
            number_cell(group.mean("flops_ratio"), formatting.digits),
            number_cell(group.mean("nonzeros"), formatting.count_text),
            *(
                Cell(metric.interval(group.estimate(name)), group.mean(name))
                for name in ("validation_last", "test_last")
            ),
        ]
        for group in chosen
    ]
    columns = [
        Column("arm", numeric=False),
        Column("training FLOPs"),
        Column("training FLOPs ÷ dense"),
        Column("non-zeros"),
        Column(f"validation {metric.label}"),
        Column(f"test {metric.label}"),
    ]
    note = (
        f"{len(chosen)} of {len(known)}: no other one with at most as many training FLOPs and "
        f"non-zeros (within 1 %) has a better mean validation {metric.title} at the last step. "
        "Arms whose intervals overlap may be in another order with other seeds."
    )
    return Table("Not surpassed at equal or lower cost", columns, rows, [note])


def _surpassed(group: Group, others: Sequence[Group]) -> bool:
    rank = group.runs[0].metric.rank
    return any(
        all(_mean(other, cost) <= _EQUAL * _mean(group, cost) for cost in _COSTS)
        and rank(_mean(other, "validation_last")) < rank(_mean(group, "validation_last"))
        for other in others
    )


def _mean(group: Group, name: str) -> float:
    found = group.mean(name)
    assert found is not None, name  # `choice_table` has checked it
    return found
