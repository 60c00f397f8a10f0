"""Side-by-side comparison: a list of runs, and curves that page.js draws for the selected ones."""

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from gpnas.report import _curves, formatting
from gpnas.report._groups import Group, Summary, quantity
from gpnas.report._read import Run
from gpnas.report._table import Cell, Column, Table, group_cell, number_cell

MAX_RUNS = 200
MAX_POINTS = 50
CAPTION = (
    "One line per run, in the colour of its arm; the checkboxes select arms, settings and seeds"
    " for the curves and the table."
)


class Comparison(NamedTuple):
    """Content of the comparison section.

    Attributes:
      data: JSON for page.js: `{"axes": [label], "steps": [[step]], "runs": [{"arm", "colour",
        "turn", "setting", "seed", "curves": [[index into steps, [value]] or null]}]}`, one curve
        per axis.
      table: One row per run, in the same order.
    """

    data: str
    table: Table
    caption: str = CAPTION


def comparison(summary: Summary) -> Comparison | None:
    """Returns the finished runs side by side; None for a single run or without curves.

    Args:
      summary: The summary of the report.
    """
    found = [(group, run) for group in summary.groups for run in group.runs]
    chosen = np.linspace(0, len(found) - 1, min(len(found), MAX_RUNS)).round().astype(int)
    shown = [found[i] for i in chosen]  # of all arms
    axes = [*dict.fromkeys(axis for _, run in shown for axis, _ in _tracks(run))]
    if len(shown) < 2 or not axes:
        return None
    steps: dict[tuple[int, ...], int] = {}  # index of each list; most lists are shared
    runs = [_described(group, run, axes, steps) for group, run in shown]
    more = len(found) - len(shown)
    notes = [f"{more:,} more runs are not shown."] if more else []
    # Browsers reject NaN in JSON.
    data = json.dumps(
        {"axes": axes, "steps": list(steps), "runs": runs}, allow_nan=False, separators=(",", ":")
    )
    return Comparison(data, _table(shown, notes))


def _described(
    group: Group, run: Run, axes: list[str], steps: dict[tuple[int, ...], int]
) -> dict[str, Any]:
    tracks = {
        axis: [steps.setdefault(at, len(steps)), values] for axis, (at, values) in _tracks(run)
    }
    return {
        "arm": group.series.label,
        "colour": group.series.colour,
        "turn": group.series.turn,
        "setting": group.setting,
        "seed": _seed(run),
        "curves": [tracks.get(axis) for axis in axes],
    }


def _tracks(run: Run) -> Iterator[tuple[str, tuple[tuple[int, ...], list[float]]]]:
    """Yields label and curve of each quantity that a run logged."""
    metric = run.metric
    for label, curve, unit in (
        (metric.axis(f"Validation {metric.title}"), _curves.validation([run]), 1.0),
        ("Density, %", _curves.density_curve([run]), 100.0),
    ):
        if curve is not None and np.isfinite(curve.mean).all():
            last = len(curve.steps) - 1
            chosen = np.linspace(0, last, min(last + 1, MAX_POINTS)).round().astype(int)
            steps = tuple(map(int, curve.steps[chosen]))
            yield label, (steps, [float(f"{v * unit:.4g}") for v in curve.mean[chosen]])


def _table(shown: list[tuple[Group, Run]], notes: list[str]) -> Table:
    forms = {
        "density": formatting.percent_text,
        "nonzeros": formatting.count_text,
        "flops_ratio": formatting.digits,
        "wall": formatting.digits,
    }
    rows = [
        [
            group_cell(group),
            Cell(_seed(run), run.seed),
            _test(run),
            *(number_cell(quantity(run, name), form) for name, form in forms.items()),
        ]
        for group, run in shown
    ]
    columns = [
        Column("arm", numeric=False),
        Column("seed"),
        Column("test, last step", help="Metric on the test split at the last step"),
        Column("density", help="Active fraction of the prunable weights at the end"),
        Column("non-zeros"),
        Column("training FLOPs ÷ dense"),
        Column("wall s"),
    ]
    return Table("Runs", columns, rows, notes)


def _test(run: Run) -> Cell:
    value = quantity(run, "test_last")
    return Cell(formatting.MISSING if value is None else run.metric.text(value), value)


def _seed(run: Run) -> str:
    return formatting.MISSING if run.seed is None else str(run.seed)
